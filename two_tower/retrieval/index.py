"""The retrieval index: one ONNX file that takes embeddings and returns the exact top k items.

A scan is bound by memory, so it reads codes, a fraction of the bytes of float32 vectors. The graph

1. scores every item by its codes and keeps the best as candidates: one query by codes with a scale an item, of 4
   bits where the catalogue is large (MatMulNBits), many queries by codes of 8 bits (MatMulInteger),
2. scores the candidates again in float32, which gives a lower bound of the k-th score,
3. and leaves out no item that can belong among the best: by the Cauchy–Schwarz inequality the rounding error of a
   coarse score is bounded. One query scores in float32 all items that the bound leaves possible. Many queries each
   prove that none is possible beyond their candidates.
4. A query without that proof, or with too many possible items (near duplicates by the thousand), is answered by a scan
   in float32.

A catalogue of a few thousand items is scanned in float32 at once. A filter that leaves few items scores those alone. On
CUDA the coarse scores of any catalogue are in float16 (see `two_tower.retrieval.half`).

Items are ranked by a linear score, query · item + offset: the offset is 0 for cosine and dot, and -|item|²/2 for
euclidean, which orders items as the negative distance does. The codes are of the items less their mean, which moves all
scores of one query alike.
"""

from pathlib import Path
from typing import cast

import numpy as np
import onnx
from onnx import numpy_helper, parser

from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.retrieval.codes import item_tables
from two_tower.retrieval.half import half_tables
from two_tower.retrieval.index_graph import Similarity, graph_text
from two_tower.retrieval.quantized import FEW_EXCLUDED
from two_tower.retrieval.selection_graph import BLOCK
from two_tower.retrieval.single_query import Codes
from two_tower.runtime import Device, InMemory, open_session

EXTERNAL_BYTES = 8 * 2**20  # a larger index keeps its tables in <name>.data next to it, which processes map and share
APART_BYTES = 1024  # the least table that lies there
ALIGNED = 4096  # bytes: where a table may begin there
MANY_EXTRA = 7000  # rows for which one row more is fetched of many queries: more lie within rounding where more lie
SCORES_BYTES = 2**28  # of coarse scores at a time: of more queries than that, some are answered after the others
LIST_BELOW = 0.02  # share of the items up to which those that a filter leaves are scored alone
QUERY_BYTE_LEVELS = 63  # 7 bits: sums of pairs of u8 × s8 products saturate on processors without VNNI
QUERY_LEVELS = 127  # as MatMulNBits rounds by itself
HALF_ON: tuple[Device, ...] = ("cuda",)  # where the scan is in float16 instead


def build(items: Array, similarity: Similarity, embedding_space: str, path: Path) -> None:
    """Write the index of items, float32 [n, dim], whose row numbers the answers will be.

    The file's inputs: `embedding` float32 [batch, dim]; `k` int64 [1], at most n; and, each of which may be left out,
    `exclude` int64 [1 or batch, any], row numbers that are not to be returned, padded with -1; `allowed` bool
    [1 or batch, n], which rows may be; `listed` int64 [any], the only rows to look at (instead of `allowed`, where they
    are few). Its outputs: `rows` int64 [batch, k], best first, and `scores` float32 [batch, k] in the similarity's own
    unit (euclidean: the negative distance); and `unproven` bool [batch, 1], which queries had to look wider.
    Where fewer than k rows are left, the last rows are -1 with a score of -inf.
    """
    count, dim = items.shape
    assert count >= 1 and np.isfinite(items).all(), "an index holds at least one item, and finite numbers"
    tables, coded = item_tables(items, similarity)
    rows = len(tables["items"])
    properties = {"embedding_space": embedding_space, "similarity": similarity, "items": str(count), "dim": str(dim)}
    text = graph_text(similarity, dim=dim, rows=rows, coded=coded)
    _write(text, tables | _scalars(count, rows, dim, similarity, coded), properties, path)


def _write(text: str, constants: dict[str, Array], properties: dict[str, str], path: Path) -> None:
    """Write a model; of a large one the tables go straight to their file, since no message holds 2 GB or more."""
    data = path.with_name(path.name + ".data")
    apart: dict[str, dict[str, str]] = {}
    if sum(table.nbytes for table in constants.values()) > EXTERNAL_BYTES:
        with data.open("wb") as file:
            for name, table in constants.items():
                if table.nbytes >= APART_BYTES:
                    offset = file.seek(-(-file.tell() // ALIGNED) * ALIGNED)
                    np.ascontiguousarray(table).tofile(file)
                    apart[name] = {"location": data.name, "offset": str(offset), "length": str(table.nbytes)}
    else:
        data.unlink(missing_ok=True)
    onnx.save_model(_model(text, constants, properties, apart), path)
    onnx.checker.check_model(path)


def _model(
    text: str, constants: dict[str, Array], properties: dict[str, str], apart: dict[str, dict[str, str]]
) -> onnx.ModelProto:
    """The model of a graph's text. apart: the constants that it only names, and where each lies."""
    model = parser.parse_model(text)
    placed = _place(model.graph, {name for name in constants if name.endswith("_codes") or name == "narrow_scales"})
    for name, table in constants.items():
        if name not in placed:
            continue
        if name in apart:
            named = placed[name].initializer.add(name=name, dims=table.shape, data_location=onnx.TensorProto.EXTERNAL)
            named.data_type = onnx.helper.np_dtype_to_tensor_dtype(table.dtype)
            for key, value in apart[name].items():
                named.external_data.add(key=key, value=value)
        else:
            placed[name].initializer.append(numpy_helper.from_array(np.ascontiguousarray(table), name))
    onnx.helper.set_model_props(model, properties)
    return model


def _scalars(count: int, rows: int, dim: int, similarity: Similarity, coded: Codes | None) -> dict[str, Array]:
    integers = {
        "table_rows": rows,
        "padding": rows - count,
        "zero": 0,
        "one": 1,
        "four": 4,
        "sixty_four": 64,
        "many_extra": max(128, rows // MANY_EXTRA),
        "few_near": rows // 8,
        "few_excluded": FEW_EXCLUDED,
        "last": -1,
        "block": BLOCK,
        "block_count": rows // BLOCK,
    }
    floats = {
        "minus_infinity": -np.inf,
        "tiny": 1e-30,
        "half": 0.5,
        "one_float": 1.0,
        "query_byte_levels": QUERY_BYTE_LEVELS,
        "query_levels": QUERY_LEVELS,
        "float_slack": (dim + 1) * np.finfo(np.float32).eps,  # of sums of so many products
    }
    width, group = (coded.width, coded.group) if coded else (dim, dim)
    linear_dim = dim + (similarity == "euclidean")
    return {
        **{name: np.array([value], dtype=np.int64) for name, value in integers.items()},
        **{name: np.array(value, dtype=np.float32) for name, value in floats.items()},
        "least_int": np.array(np.iinfo(np.int32).min, dtype=np.int32),
        "code_zero": np.array(QUERY_BYTE_LEVELS, dtype=np.uint8),
        "padding_rows": np.arange(count, rows).reshape(1, -1),
        "true": np.array([[True]]),
        "false": np.array([[False]]),
        "flag_pads": np.array([0, 0, 0, rows - count]),
        "query_pads": np.array([0, 0, 0, width - linear_dim]),
        "group_shape": np.array([-1, width // group, group]),
        "code_shape": np.array([-1, width]),
        "block_places": np.arange(rows // BLOCK).reshape(1, -1),
        "flat_shape": np.array([0, -1]),
        "block_shape": np.array([-1, rows // BLOCK, BLOCK]),
        "lanes": np.arange(BLOCK).reshape(1, 1, BLOCK),
        "exclude": np.empty((1, 0), dtype=np.int64),  # what an input is that is left out
        "allowed": np.empty((1, 0), dtype=bool),
        "listed": np.empty(0, dtype=np.int64),
    }


def _place(graph: onnx.GraphProto, inner: set[str]) -> dict[str, onnx.GraphProto]:
    """The graph that each name used belongs into: the outermost one, or, for those of `inner`, the one that uses it.

    ONNX Runtime packs a table once, at load, only where the table lies in the graph of its operator.
    """
    placed = {name: graph for node in graph.node for name in node.input}
    for branch in (a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
        within = _place(branch, inner)
        placed |= {name: place if name in inner else graph for name, place in within.items()}
    return placed


def _half(path: Path) -> InMemory:
    """The index of a file as CUDA scans it (see `two_tower.retrieval.half`)."""
    try:
        onnx.checker.check_model(path)
        stored = onnx.load(path, load_external_data=False)
        found = {table.name: table for table in stored.graph.initializer if table.name in {"items", "offset"}}
        tables = {name: numpy_helper.to_array(table, str(path.parent)) for name, table in found.items()}
    except (OSError, onnx.checker.ValidationError) as error:
        raise InputError(f"{path} is not a complete ONNX model: {error}. Build the index again.") from error
    properties = {one.key: one.value for one in stored.metadata_props}
    similarity = cast("Similarity", properties["similarity"])
    items, count = tables["items"], int(properties["items"])
    rows, dim = items.shape
    linear = np.column_stack([items, tables["offset"]]) if similarity == "euclidean" else items
    constants = _scalars(count, rows, dim, similarity, None) | half_tables(linear, count) | tables
    large = ("items", "half_items")  # a message of 2 GB might not hold them
    text = graph_text(similarity, dim=dim, rows=rows, coded="half")
    model = _model(text, constants, properties, {name: {"location": "memory"} for name in large})
    return InMemory(model.SerializeToString(), {name: constants[name] for name in large})


class Index:
    """An opened index. Attributes: items (how many), dim, similarity, embedding_space."""

    def __init__(self, path: Path, device: Device = "cpu", threads: int | None = None) -> None:
        self._half = _half(path) if device in HALF_ON else None
        self._session = open_session(path, device, threads, self._half)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.items = int(properties["items"])
        self.dim = int(properties["dim"])
        self.similarity = properties["similarity"]
        self.embedding_space = properties["embedding_space"]
        self._most = max(1, SCORES_BYTES // (4 * self.items))

    def search(
        self, embedding: Array, k: int, exclude: Array | None = None, allowed: Array | None = None
    ) -> tuple[Array, Array]:
        """The exact top k of what may be returned: rows int64 and scores float32, both [batch, k], best first.

        embedding: float32 [batch, dim]. k: 1 to `items`. exclude: int64 [batch, any] row numbers, padded with -1.
        allowed: bool [items] or [batch, items]; other rows are not returned. Where fewer than k rows may be, the last
        rows are -1 with a score of -inf.
        """
        assert 1 <= k <= self.items, f"k={k} of an index of {self.items} items"
        assert embedding.ndim == 2 and embedding.shape[1] == self.dim, embedding.shape
        given = {"embedding": embedding, "k": np.array([k], dtype=np.int64)}
        if exclude is not None:
            given["exclude"] = exclude
        if allowed is None:
            return self._run(given)
        assert allowed.dtype == bool and allowed.shape in {(self.items,), (len(embedding), self.items)}, allowed.shape
        if allowed.ndim == 2 and len(allowed) > 1:
            return self._filtered_each(given, allowed)
        mask = allowed.reshape(-1)
        if np.count_nonzero(mask) > LIST_BELOW * self.items:
            return self._run(given | {"allowed": mask[None]})
        rows = np.flatnonzero(mask)
        return self._run(given | {"listed": rows if len(rows) else np.array([-1])})  # -1: a row that is no item

    def _filtered_each(self, given: dict[str, Array], allowed: Array) -> tuple[Array, Array]:
        """One query at a time where a filter leaves few items, else all at once."""
        if np.count_nonzero(allowed, axis=1).min() > LIST_BELOW * self.items:
            return self._run(given | {"allowed": allowed})
        own = given.get("exclude", np.empty((len(allowed), 0), dtype=np.int64))
        found = [
            self.search(given["embedding"][i : i + 1], int(given["k"][0]), own[i : i + 1], mask)
            for i, mask in enumerate(allowed)
        ]
        return np.concatenate([rows for rows, _ in found]), np.concatenate([scores for _, scores in found])

    def _run(self, given: dict[str, Array]) -> tuple[Array, Array]:
        batch = len(given["embedding"])
        blocks = [given]
        if batch > self._most:
            each = {name for name, array in given.items() if name not in {"k", "listed"} and len(array) == batch}
            starts = range(0, batch, self._most)
            blocks = [given | {name: given[name][start : start + self._most] for name in each} for start in starts]
        found = [self._session.run(["rows", "scores"], block) for block in blocks]
        rows, scores = found[0] if len(found) == 1 else map(np.concatenate, zip(*found, strict=True))
        return rows, np.where(rows < 0, np.float32(-np.inf), scores) if self._half else scores
