"""The retrieval index: one ONNX file that takes embeddings and returns the exact top k items.

A scan is bound by memory, and int8 codes are a quarter of the bytes that float32 vectors are. So the graph

1. scores every item by int8 codes (MatMulInteger) and keeps a few times k of the best as candidates,
2. scores the candidates again in float32 and keeps the best k,
3. proves that no item left out can belong among them: by the Cauchy–Schwarz inequality the rounding error of a coarse
   score is bounded, so none of them scores above the worst candidate's coarse score plus that bound,
4. and where the proof fails (hundreds of near duplicates around the k-th place) picks the candidates by a scan in
   float32 instead.

Items are ranked by a linear score, query · item + offset: the offset is 0 for cosine and dot, and -|item|²/2 for
euclidean, which orders items as the negative distance does. The codes are of the items less their mean, which moves all
scores of one query alike, with one scale a column, which is folded into the query.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper, parser

from two_tower.inputs import Array
from two_tower.runtime import Device, open_session

Similarity = Literal["cosine", "dot", "euclidean"]

EXTERNAL_BYTES = 64 * 2**20  # an index larger than this keeps its tables in <name>.data next to it
ITEM_LEVELS = 127
QUERY_LEVELS = 63  # 7 bits: sums of pairs of u8 × s8 products saturate on processors without VNNI

_GRAPH = """
<ir_version: 10, opset_import: ["" : 21]>
index (float[batch, {dim}] embedding, int64[1] k, int64[batch, excluded] exclude)
  => (int64[batch, k] rows, float[batch, k] scores)
{{
  batch = Shape <start = 0, end = 1> (embedding)
  {query}
  times = Mul(k, four)
  plus = Add(times, sixty_four)
  fetched = Min(plus, table_rows)
  sentinel_shape = Concat <axis = 0> (batch, one)
  sentinel = Expand(last, sentinel_shape)
  hidden = Concat <axis = 1> (exclude, sentinel)
  hidden_shape = Shape(hidden)

  scaled = Mul(linear_query, column_scale)
  magnitude = Abs(scaled)
  largest = ReduceMax(magnitude, last)
  raw_step = Div(largest, query_levels)
  step = Max(raw_step, tiny)
  in_steps = Div(scaled, step)
  level = Round(in_steps)
  shifted = Add(level, query_levels)
  code = Cast <to = 2> (shifted)
  coarse = MatMulInteger(code, item_codes, code_zero)
  coarse_lowest = Expand(least_int, hidden_shape)
  coarse_visible = ScatterElements <axis = 1> (coarse, hidden, coarse_lowest)
  coarse_top, coarse_rows = TopK <sorted = 0> (coarse_visible, fetched)
  coarse_hidden = Equal(coarse_top, least_int)
  {from_codes}

  worst = ReduceMin(coarse_top, last)
  all_fetched = Equal(worst, least_int)
  worst_float = Cast <to = 1> (worst)
  worst_scaled = Mul(worst_float, step)
  mean_score = MatMul(linear_query, mean)
  rounded = Mul(level, step)
  query_error = Sub(scaled, rounded)
  query_error_norm = ReduceL2(query_error, last)
  from_query = Mul(query_error_norm, code_norm)
  scaled_norm = ReduceL2(scaled, last)
  from_items = Mul(scaled_norm, code_error_norm)
  linear_norm = ReduceL2(linear_query, last)
  norms = Add(linear_norm, item_norm)
  squared = Mul(norms, norms)
  from_floats = Mul(squared, float_slack)
  bound = Sum(worst_scaled, mean_score, from_query, from_items, from_floats)
  kth = ReduceMin(codes_scores, last)
  {kth_linear}
  within = GreaterOrEqual(kth_linear, bound)
  proven = Or(within, all_fetched)
  unproven = Not(proven)
  unproven_int = Cast <to = 6> (unproven)
  any_unproven = ReduceMax <keepdims = 0> (unproven_int)
  scan_floats = Cast <to = 9> (any_unproven)
  rows, scores = If (scan_floats) <
    then_branch = floats () => (int64[batch, k] floats_rows, float[batch, k] floats_scores)
    {{
      fine = Gemm <transB = 1> (query, items, offset)
      fine_lowest = Expand(minus_infinity, hidden_shape)
      fine_visible = ScatterElements <axis = 1> (fine, hidden, fine_lowest)
      fine_top, fine_rows = TopK <sorted = 0> (fine_visible, fetched)
      fine_hidden = Equal(fine_top, minus_infinity)
      {from_floats}
    }},
    else_branch = codes () => (int64[batch, k] kept_rows, float[batch, k] kept_scores)
    {{
      kept_rows = Identity(codes_rows)
      kept_scores = Identity(codes_scores)
    }}
  >
}}
"""

_QUERY: dict[Similarity, str] = {  # also what the scan in float32 and the codes multiply with
    "cosine": """norm = ReduceL2(embedding, last)
  positive_norm = Max(norm, tiny)
  query = Div(embedding, positive_norm)
  linear_query = Identity(query)""",
    "dot": """query = Identity(embedding)
  linear_query = Identity(query)""",
    "euclidean": """query = Identity(embedding)
  ones_shape = Concat <axis = 0> (batch, one)
  ones = Expand(one_float, ones_shape)
  linear_query = Concat <axis = 1> (query, ones)""",
}

_KTH_LINEAR: dict[Similarity, str] = {
    "cosine": "kth_linear = Identity(kth)",
    "dot": "kth_linear = Identity(kth)",
    "euclidean": """query_squared = ReduceSumSquare(query, last)
  kth_squared = Mul(kth, kth)
  kth_twice = Sub(query_squared, kth_squared)
  kth_linear = Mul(kth_twice, half)""",
}

_PRODUCT = """{p}_column = Unsqueeze(query, last)
      {p}_products = MatMul({p}_vectors, {p}_column)
      {p}_similarity = Squeeze({p}_products, last)"""
_DISTANCE = """{p}_query = Unsqueeze(query, one)
      {p}_difference = Sub({p}_vectors, {p}_query)
      {p}_distance = ReduceL2 <keepdims = 0> ({p}_difference, last)
      {p}_similarity = Neg({p}_distance)"""

_EXACT = """{p}_vectors = Gather(items, {top}_rows)
      {similarity}
      {p}_ranked = Where({top}_hidden, minus_infinity, {p}_similarity)
      {p}_scores, {p}_places = TopK({p}_ranked, k)
      {p}_found = GatherElements <axis = 1> ({top}_rows, {p}_places)
      {p}_none = Equal({p}_scores, minus_infinity)
      {p}_rows = Where({p}_none, last, {p}_found)"""


def build(items: Array, similarity: Similarity, embedding_space: str, path: Path) -> None:
    """Write the index of items, float32 [n, dim], whose row numbers the answers will be.

    The file's inputs: `embedding` float32 [batch, dim]; `k` int64 [1], at most n; `exclude` int64 [batch, any], row
    numbers that are not to be returned, padded with -1. Its outputs: `rows` int64 [batch, k], best first, and `scores`
    float32 [batch, k] in the similarity's own unit (euclidean: the negative distance). Where fewer than k rows are
    left, the last rows are -1 with a score of -inf.
    """
    count, dim = items.shape
    assert count >= 1 and np.isfinite(items).all(), "an index holds at least one item, and finite numbers"
    tables = _tables(items.astype(np.float32), similarity)
    scalars = {
        "table_rows": np.array([count + 1], dtype=np.int64),
        "one": np.array([1], dtype=np.int64),
        "four": np.array([4], dtype=np.int64),
        "sixty_four": np.array([64], dtype=np.int64),
        "last": np.array([-1], dtype=np.int64),
        "least_int": np.array(np.iinfo(np.int32).min, dtype=np.int32),
        "minus_infinity": np.array(-np.inf, dtype=np.float32),
        "tiny": np.array(1e-30, dtype=np.float32),
        "half": np.array(0.5, dtype=np.float32),
        "one_float": np.array(1.0, dtype=np.float32),
        "query_levels": np.array(QUERY_LEVELS, dtype=np.float32),
        "code_zero": np.array(QUERY_LEVELS, dtype=np.uint8),
        "float_slack": np.array((dim + 1) * np.finfo(np.float32).eps, dtype=np.float32),  # of sums of so many products
    }
    model = parser.parse_model(_graph_text(similarity, dim))
    used = {name for node in _nodes(model.graph) for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), name)
        for name, array in (tables | scalars).items()
        if name in used
    )
    onnx.helper.set_model_props(
        model,
        {"embedding_space": embedding_space, "similarity": similarity, "items": str(count), "dim": str(dim)},
    )
    _save(model, path)


def _graph_text(similarity: Similarity, dim: int) -> str:
    template = _DISTANCE if similarity == "euclidean" else _PRODUCT

    def exact(prefix: str, top: str) -> str:
        return _EXACT.format(p=prefix, top=top, similarity=template.format(p=prefix))

    return _GRAPH.format(
        dim=dim,
        query=_QUERY[similarity],
        kth_linear=_KTH_LINEAR[similarity],
        from_codes=exact("codes", "coarse"),
        from_floats=exact("floats", "fine"),
    )


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    inner = [a.g for node in graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    return [*graph.node, *(node for g in inner for node in _nodes(g))]


def _tables(items: Array, similarity: Similarity) -> dict[str, Array]:
    """The items and their codes, each with a sentinel for its last row.

    Every search hides the sentinel, so that the padding -1 of `exclude`, which counts from the end, hides no item.
    """
    if similarity == "cosine":
        items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-30)
    offset = -0.5 * np.sum(items * items, axis=1) if similarity == "euclidean" else np.zeros(len(items), np.float32)
    linear = np.column_stack([items, offset]) if similarity == "euclidean" else items
    mean = linear.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = linear - mean
    largest = np.abs(centred).max(axis=0)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / ITEM_LEVELS
    levels = centred / scale
    codes = np.rint(levels)
    return {
        "items": np.vstack([items, np.zeros_like(items[:1])]),
        "offset": np.append(offset, np.float32(0)),
        "item_codes": np.vstack([codes, np.zeros_like(codes[:1])]).astype(np.int8).T,
        "column_scale": scale,
        "mean": mean[:, None],
        "code_norm": np.linalg.norm(codes, axis=1).max(),
        "code_error_norm": np.linalg.norm(levels - codes, axis=1).max(),
        "item_norm": np.linalg.norm(linear, axis=1).max(),
    }


def _save(model: onnx.ModelProto, path: Path) -> None:
    data = path.with_name(path.name + ".data")
    data.unlink(missing_ok=True)  # onnx appends to a file that is there
    onnx.checker.check_model(model, full_check=False)
    onnx.save_model(
        model,
        path,
        save_as_external_data=model.ByteSize() > EXTERNAL_BYTES,
        location=data.name,
    )


class Index:
    """An opened index. Attributes: items (how many), dim, similarity, embedding_space."""

    def __init__(self, path: Path, device: Device = "cpu", threads: int | None = None) -> None:
        self._session = open_session(path, device, threads)
        properties = self._session.get_modelmeta().custom_metadata_map
        self.items = int(properties["items"])
        self.dim = int(properties["dim"])
        self.similarity = properties["similarity"]
        self.embedding_space = properties["embedding_space"]

    def search(self, embedding: Array, k: int, exclude: Array | None = None) -> tuple[Array, Array]:
        """The exact top k: rows int64 and scores float32, both [batch, k], best first.

        embedding: float32 [batch, dim]. k: 1 to `items`. exclude: int64 [batch, any] row numbers, padded with -1.
        """
        assert 1 <= k <= self.items, f"k={k} of an index of {self.items} items"
        assert embedding.ndim == 2 and embedding.shape[1] == self.dim, embedding.shape
        if exclude is None:
            exclude = np.empty((len(embedding), 0), dtype=np.int64)
        inputs = {"embedding": embedding, "k": np.array([k], dtype=np.int64), "exclude": exclude}
        rows, scores = self._session.run(["rows", "scores"], inputs)
        return rows, scores
