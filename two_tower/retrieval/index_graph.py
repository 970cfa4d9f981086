"""Text of the retrieval graphs that `two_tower.retrieval.index` writes and describes."""

from typing import Literal

from two_tower.retrieval.quantized import scan_text
from two_tower.retrieval.selection_graph import Scoring
from two_tower.retrieval.single_query import Codes

Similarity = Literal["cosine", "dot", "euclidean"]


_GRAPH = """
<ir_version: 10, opset_import: ["" : 21, "com.microsoft" : 1]>
index (float[batch, {dim}] embedding, int64[1] k, int64[excluders, excluded] exclude, bool[masks, flags] allowed,
       int64[lists] listed)
  => (int64[batch, k] rows, float[batch, k] scores, bool[batch, 1] unproven)
{{
  batch = Shape <start = 0, end = 1> (embedding)
  {query}
  table_shape = Concat <axis = 0> (batch, table_rows)
  exclude_count = Shape <start = 1, end = 2> (exclude)
  exclude_shape = Concat <axis = 0> (batch, exclude_count)
  excluded_rows = Expand(exclude, exclude_shape)
  padding_shape = Concat <axis = 0> (batch, padding)
  padding_hidden = Expand(padding_rows, padding_shape)
  hidden_rows = Concat <axis = 1> (excluded_rows, padding_hidden)
  {k}
  four_k = Mul(k_asked, four)
  wanted = Add(four_k, sixty_four)
  flags_given = Size(allowed)
  filtered = Cast <to = 9> (flags_given)
  lists_given = Size(listed)
  by_list = Cast <to = 9> (lists_given)
  batch_column = Concat <axis = 0> (batch, one)
  rows, scores, unproven = If (by_list) <
    then_branch = list () =>
      (int64[batch, k] list_rows, float[batch, k] list_scores, bool[batch, 1] list_unproven)
    {{
      list_unproven = Expand(false, batch_column)
      {list}
    }},
    else_branch = scan () =>
      (int64[batch, k] scan_rows, float[batch, k] scan_scores, bool[batch, 1] scan_unproven)
    {{
      flags = If (filtered) <
        then_branch = some () => (bool[masks, n] some_flags)
        {{
          some_flags = Pad(allowed, flag_pads, false)
        }},
        else_branch = all () => (bool[masks, n] all_flags)
        {{
          all_flags = Identity(true)
        }}
      >
      {scan}
    }}
  >
}}
"""

_K = "k_asked = Identity(k)"
# TopK on CUDA needs k on the host. A value that is derived from a shape is there; one derived from an input is not.
_K_ON_CUDA = """k_zeros = ConstantOfShape(k)
  k_asked = Shape(k_zeros)"""

# Exact scores of the listed rows alone.
_LIST = """list_vectors = Gather(items, listed)
      {linear}
      list_all_barred = Expand(false, table_shape)
      list_bar_shape = Shape(hidden_rows)
      list_bar = Expand(true, list_bar_shape)
      list_excluded = ScatterElements <axis = 1> (list_all_barred, hidden_rows, list_bar)
      list_asked = Gather <axis = 1> (list_excluded, listed)
      list_absent = Less(listed, zero)
      list_hidden = Or(list_asked, list_absent)
      list_visible = Where(list_hidden, minus_infinity, list_linear)
      list_length = Shape(listed)
      list_fetched = Min(wanted, list_length)
      listfine_top, list_places = TopK <sorted = 0> (list_visible, list_fetched)
      listfine_rows = Gather(listed, list_places)
      listfine_hidden = Equal(listfine_top, minus_infinity)
      list_k = Min(k, list_length)
      {exact}
      lack = Sub(k, list_k)
      lack_shape = Concat <axis = 0> (batch, lack)
      no_rows = Expand(last, lack_shape)
      no_scores = Expand(minus_infinity, lack_shape)
      list_rows = Concat <axis = 1> (listed_rows, no_rows)
      list_scores = Concat <axis = 1> (listed_scores, no_scores)"""

_PLAIN_SCAN = """all_queries = Identity(query)
      all_hidden = Identity(hidden_rows)
      {floats}
      scan_unproven = Expand(false, batch_column)
      scan_rows = Identity(floats_rows)
      scan_scores = Identity(floats_scores)"""

# Scan in float32 of `all_queries`; `all_hidden` are the rows that each query excludes.
_FLOATS = """{linear}
      fine_allowed = Where({flags}, fine, minus_infinity)
      fine_lowest_shape = Shape(all_hidden)
      fine_lowest = Expand(minus_infinity, fine_lowest_shape)
      fine_visible = ScatterElements <axis = 1> (fine_allowed, all_hidden, fine_lowest)
      {best}"""

_BEST = """floats_scores, floats_places = TopK(fine_visible, k)
      floats_none = Equal(floats_scores, minus_infinity)
      floats_rows = Where(floats_none, last, floats_places)"""
_BEST_BY_DISTANCE = """fine_fetched = Min(wanted, table_rows)
      fine_top, fine_rows = TopK <sorted = 0> (fine_visible, fine_fetched)
      fine_hidden = Equal(fine_top, minus_infinity)
      {exact}"""

_QUERY: dict[Similarity, str] = {  # linear_query: the left factor of the linear score
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

_PRODUCT = """{p}_column = Unsqueeze({queries}, last)
      {p}_products = MatMul({p}_vectors, {p}_column)
      {p}_similarity = Squeeze({p}_products, last)"""
_DISTANCE = """{p}_query = Unsqueeze({queries}, one)
      {p}_difference = Sub({p}_vectors, {p}_query)
      {p}_distance = ReduceL2 <keepdims = 0> ({p}_difference, last)
      {p}_similarity = Neg({p}_distance)"""

_EXACT = """{p}_vectors = Gather(items, {rows})
      {similarity}"""
_BEST_EXACT = """{exact}
      {p}_ranked = Where({top}_hidden, minus_infinity, {p}_similarity)
      {p}_scores, {p}_places = TopK({p}_ranked, {k})
      {p}_found = GatherElements <axis = 1> ({top}_rows, {p}_places)
      {p}_none = Equal({p}_scores, minus_infinity)
      {p}_rows = Where({p}_none, last, {p}_found)"""


def graph_text(similarity: Similarity, *, dim: int, rows: int, coded: Codes | Literal["half"] | None) -> str:
    """Build the text of a retrieval graph.

    Args:
        similarity: Similarity of the index.
        dim: Width of the embeddings.
        rows: Rows of the tables, padding included.
        coded: Shape of the codes to scan, `half` for float16 items, or None for a scan in float32.

    Returns:
        A model in ONNX's textual format, without its tables.
    """

    def exact(prefix: str, candidates: str, queries: str = "query") -> str:
        template = _DISTANCE if similarity == "euclidean" else _PRODUCT
        return _EXACT.format(p=prefix, rows=candidates, similarity=template.format(p=prefix, queries=queries))

    def best(prefix: str, top: str, queries: str, k: str = "k") -> str:
        return _BEST_EXACT.format(p=prefix, top=top, k=k, exact=exact(prefix, f"{top}_rows", queries))

    listed = _LIST.format(
        linear="list_linear = Gemm <transB = 1> (query, list_vectors)"
        if similarity != "euclidean"
        else "list_offset = Gather(offset, listed)\n      "
        "list_linear = Gemm <transB = 1> (query, list_vectors, list_offset)",
        exact=best("listed", "listfine", "query", "list_k"),
    )
    by_distance = _BEST_BY_DISTANCE.format(exact=best("floats", "fine", "all_queries"))
    floats = _FLOATS.format(
        linear=_fine(similarity, packed=not isinstance(coded, Codes)),
        flags="mend_flags" if coded else "flags",
        best=by_distance if similarity == "euclidean" else _BEST,
    )
    scoring = Scoring(exact, _KTH_LINEAR[similarity], floats)
    scan = scan_text(rows, coded, scoring) if coded else _PLAIN_SCAN.format(floats=floats)
    k = _K_ON_CUDA if coded == "half" else _K
    return _GRAPH.format(dim=dim, k=k, query=_QUERY[similarity], list=listed, scan=scan)


def _fine(similarity: Similarity, packed: bool) -> str:
    """The linear scores of all items in float32.

    packed: the float32 table is the right factor. ONNX Runtime then keeps a packed copy of it on a CPU.
    """
    if packed:
        return f"fine = Gemm <transB = 1> (all_queries, items{', offset' if similarity == 'euclidean' else ''})"
    product = "fine_left = Transpose (all_queries)\n      fine_right = MatMul(items, fine_left)\n      "
    if similarity == "euclidean":
        return product + "fine_product = Transpose (fine_right)\n      fine = Add(fine_product, offset)"
    return product + "fine = Transpose (fine_right)"
