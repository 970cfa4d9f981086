"""The retrieval index: an ONNX file that takes query embeddings and returns the exact top k items.

The speed of a scan is limited by memory bandwidth, so the graph reads quantized codes, which have a fraction of the
bytes of float32 vectors. The graph

1. computes a coarse score of every item from its codes and keeps the best as candidates: for a single query from codes
   with a scale per item and group of columns, with 4 bits in a large catalogue (MatMulNBits); for several queries from
   8-bit codes (MatMulInteger);
2. computes the exact scores of the candidates in float32, which give a lower bound of the k-th score;
3. keeps every item that can be in the top k: the Cauchy–Schwarz inequality bounds the rounding error of a coarse score.
   A single query scores in float32 all items that the bound allows. Each of several queries proves that the bound
   allows no item outside its candidates;
4. scans in float32 for a query without this proof, or with too many possible items (thousands of near duplicates).

A catalogue of a few thousand items is scanned in float32 without codes. If a filter allows few items, only these are
scored. On CUDA the coarse scores are in float16 for any catalogue (see `two_tower.retrieval.half`).

Items are ranked by a linear score, query · item + offset. The offset is 0 for cosine and dot. It is -|item|²/2 for
euclidean, which gives the same order as the negative distance. The codes quantize the items minus their mean; the mean
shifts all scores of a query equally.
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

EXTERNAL_BYTES = 8 * 2**20  # a larger index stores its tables in <name>.data, which processes map and share
APART_BYTES = 1024  # least size of a table in that file
ALIGNED = 4096  # bytes; a table in that file starts at a multiple
MANY_EXTRA = (
    7000  # batched queries fetch one more candidate per this many rows: more rows are within the rounding error
)
SCORES_BYTES = 2**28  # memory for coarse scores; a batch that needs more is split
LIST_BELOW = 0.02  # share of the items; a filter that allows fewer scores only these
QUERY_BYTE_LEVELS = 63  # 7 bits: sums of pairs of u8 × s8 products saturate on processors without VNNI
QUERY_LEVELS = 127  # the levels to which MatMulNBits itself rounds
HALF_ON: tuple[Device, ...] = ("cuda",)  # devices that scan in float16


def build(items: Array, similarity: Similarity, embedding_space: str, path: Path) -> None:
    """Write the index of items. The index returns row numbers of `items`.

    Inputs of the file: `embedding`, `(batch, dim) float32`; `k`, `(1,) int64`, at most n. Optional inputs: `exclude`,
    `(1 or batch, any) int64`, row numbers that are not returned, padded with -1; `allowed`, `(1 or batch, n) bool`, the
    rows that can be returned; `listed`, `(any,) int64`, the only rows to score (in place of `allowed`, if they are
    few).

    Outputs of the file: `rows`, `(batch, k) int64`, best first; `scores`, `(batch, k) float32`, in the unit of the
    similarity (euclidean: the negative distance); `unproven`, `(batch, 1) bool`, queries that needed a wider scan. If
    fewer than k rows are left, the last rows are -1 with the score -inf.

    Args:
        items: Item embeddings, `(n, dim) float32`, finite, n at least 1.
        similarity: Similarity of the index.
        embedding_space: Identifier of the towers, stored in the file's metadata.
        path: File to write. A large index also writes `<path>.data`.
    """
    count, dim = items.shape
    assert count >= 1 and np.isfinite(items).all(), "an index holds at least one item, and finite numbers"
    tables, coded = item_tables(items, similarity)
    rows = len(tables["items"])
    properties = {"embedding_space": embedding_space, "similarity": similarity, "items": str(count), "dim": str(dim)}
    text = graph_text(similarity, dim=dim, rows=rows, coded=coded)
    _write(text, tables | _scalars(count, rows, dim, similarity, coded), properties, path)


def _write(text: str, constants: dict[str, Array], properties: dict[str, str], path: Path) -> None:
    """Write a model. Tables of a large one go directly to a file: a protobuf message holds less than 2 GB."""
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
    """The model of a graph's text. apart: constants that are stored outside, with their location."""
    model = parser.parse_model(text)
    placed = _place(model.graph, {name for name in constants if name.endswith("_codes") or name == "narrow_scales"})
    for name, table in constants.items():
        if name not in placed:
            continue
        if name in apart:
            tensor = placed[name].initializer.add(name=name, dims=table.shape, data_location=onnx.TensorProto.EXTERNAL)
            tensor.data_type = onnx.helper.np_dtype_to_tensor_dtype(table.dtype)
            for key, value in apart[name].items():
                tensor.external_data.add(key=key, value=value)
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
        "float_slack": (dim + 1) * np.finfo(np.float32).eps,  # rounding error of a sum of dim + 1 products
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
        "exclude": np.empty((1, 0), dtype=np.int64),  # default of an optional input
        "allowed": np.empty((1, 0), dtype=bool),
        "listed": np.empty(0, dtype=np.int64),
    }


def _place(graph: onnx.GraphProto, inner: set[str]) -> dict[str, onnx.GraphProto]:
    """Map each name to the graph that holds its table: the outermost one, or for names in `inner` the one that uses it.

    ONNX Runtime packs a table at load time only if the table is in the graph of its operator.
    """
    placed = {name: graph for node in graph.node for name in node.input}
    for branch in (a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH):
        within = _place(branch, inner)
        placed |= {name: place if name in inner else graph for name, place in within.items()}
    return placed


def _half_model(path: Path) -> InMemory:
    """The model of an index file for CUDA (see `two_tower.retrieval.half`)."""
    try:
        onnx.checker.check_model(path)
        stored = onnx.load(path, load_external_data=False)
        tensors = [table for table in stored.graph.initializer if table.name in {"items", "offset"}]
        tables = {table.name: numpy_helper.to_array(table, str(path.parent)) for table in tensors}
    except (OSError, onnx.checker.ValidationError) as error:
        raise InputError(f"{path} is not a complete ONNX model: {error}. Build the index again.") from error
    properties = {entry.key: entry.value for entry in stored.metadata_props}
    similarity = cast("Similarity", properties["similarity"])
    items, count = tables["items"], int(properties["items"])
    rows, dim = items.shape
    linear = np.column_stack([items, tables["offset"]]) if similarity == "euclidean" else items
    constants = _scalars(count, rows, dim, similarity, None) | half_tables(linear, count) | tables
    large = ("items", "half_items")  # a protobuf message holds less than 2 GB
    text = graph_text(similarity, dim=dim, rows=rows, coded="half")
    model = _model(text, constants, properties, {name: {"location": "memory"} for name in large})
    return InMemory(model.SerializeToString(), {name: constants[name] for name in large})


class Index:
    """An open index.

    Args:
        path: File that `build` wrote.
        device: `cpu` or `cuda`.
        threads: Cores per call. Default: all.

    Attributes:
        items: Number of items.
        dim: Width of the embeddings.
        similarity: `cosine`, `dot` or `euclidean`.
        embedding_space: Identifier of the towers.

    Raises:
        InputError: The file is missing or incomplete, or the device is not available.
    """

    def __init__(self, path: Path, device: Device = "cpu", threads: int | None = None) -> None:
        self._half = _half_model(path) if device in HALF_ON else None
        self._session = open_session(path, device, threads, self._half)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.items = int(properties["items"])
        self.dim = int(properties["dim"])
        self.similarity = properties["similarity"]
        self.embedding_space = properties["embedding_space"]
        self._batch = max(1, SCORES_BYTES // (4 * self.items))

    def search(
        self, embedding: Array, k: int, exclude: Array | None = None, allowed: Array | None = None
    ) -> tuple[Array, Array]:
        """Find the exact top k items of each query.

        Args:
            embedding: Query embeddings, `(batch, dim) float32`.
            k: Number of items per query, from 1 to `items`.
            exclude: Rows that are not returned, `(1 or batch, any) int64`, padded with -1.
            allowed: Rows that can be returned, `(items,)` or `(batch, items) bool`. Default: all.

        Returns:
            Rows, `(batch, k) int64`, and scores, `(batch, k) float32`, best first. If fewer than k rows are left, the
            last rows are -1 with the score -inf.
        """
        assert 1 <= k <= self.items, f"k={k} of an index of {self.items} items"
        assert embedding.ndim == 2 and embedding.shape[1] == self.dim, embedding.shape
        inputs = {"embedding": embedding, "k": np.array([k], dtype=np.int64)}
        if exclude is not None:
            inputs["exclude"] = exclude
        if allowed is None:
            return self._run(inputs)
        assert allowed.dtype == bool and allowed.shape in {(self.items,), (len(embedding), self.items)}, allowed.shape
        if allowed.ndim == 2 and len(allowed) > 1:
            return self._filtered_each(inputs, allowed)
        mask = allowed.reshape(-1)
        if np.count_nonzero(mask) > LIST_BELOW * self.items:
            return self._run(inputs | {"allowed": mask[None]})
        rows = np.flatnonzero(mask)
        return self._run(inputs | {"listed": rows if len(rows) else np.array([-1])})  # -1: not an item

    def _filtered_each(self, inputs: dict[str, Array], allowed: Array) -> tuple[Array, Array]:
        """Search query by query if a filter allows few items, else all queries together."""
        if np.count_nonzero(allowed, axis=1).min() > LIST_BELOW * self.items:
            return self._run(inputs | {"allowed": allowed})
        excluded = inputs.get("exclude", np.empty((len(allowed), 0), dtype=np.int64))
        results = [
            self.search(inputs["embedding"][i : i + 1], int(inputs["k"][0]), excluded[i : i + 1], mask)
            for i, mask in enumerate(allowed)
        ]
        return np.concatenate([rows for rows, _ in results]), np.concatenate([scores for _, scores in results])

    def _run(self, inputs: dict[str, Array]) -> tuple[Array, Array]:
        batch = len(inputs["embedding"])
        blocks = [inputs]
        if batch > self._batch:
            per_query = {name for name, array in inputs.items() if name not in {"k", "listed"} and len(array) == batch}
            starts = range(0, batch, self._batch)
            blocks = [
                inputs | {name: inputs[name][start : start + self._batch] for name in per_query} for start in starts
            ]
        outputs = [self._session.run(["rows", "scores"], block) for block in blocks]
        rows, scores = outputs[0] if len(outputs) == 1 else map(np.concatenate, zip(*outputs, strict=True))
        return rows, np.where(rows < 0, np.float32(-np.inf), scores) if self._half else scores
