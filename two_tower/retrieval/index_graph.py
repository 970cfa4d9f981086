"""The text of the retrieval graphs that `two_tower.retrieval.index` writes (see there for what they compute)."""

from typing import Literal, NamedTuple

Similarity = Literal["cosine", "dot", "euclidean"]


class Codes(NamedTuple):
    """Of the codes for single queries: bits a code, padded columns an item, columns that share a scale."""

    bits: Literal[4, 8]
    width: int
    group: int


BLOCK = 16  # scores of which the largest stands for all in the first selection
FEW_EXCLUDED = 128  # up to so many excluded rows are fetched and dropped; more are hidden before the selection

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
  four_k = Mul(k, four)
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

# The rows listed, in float32.
_LIST = """list_vectors = Gather(items, {listed})
      {linear}
      list_barred = Not({flags})
      list_all_barred = Expand(list_barred, table_shape)
      list_bar_shape = Shape(hidden_rows)
      list_bar = Expand(true, list_bar_shape)
      list_excluded = ScatterElements <axis = 1> (list_all_barred, hidden_rows, list_bar)
      list_asked = Gather <axis = 1> (list_excluded, {listed})
      list_absent = Less({listed}, zero)
      list_hidden = Or(list_asked, list_absent)
      list_visible = Where(list_hidden, minus_infinity, list_linear)
      list_length = Shape({listed})
      list_fetched = Min(wanted, list_length)
      listfine_top, list_places = TopK <sorted = 0> (list_visible, list_fetched)
      listfine_rows = Gather({listed}, list_places)
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

# Scan in float32; `floats_queries` of the batch, with the rows that each excludes.
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

_CODED_SCAN = """single = Equal(batch, one)
      is_one = Squeeze(single)
      many_excluded = Greater(exclude_count, few_excluded)
      any_many = Squeeze(many_excluded)
      masked = Or(filtered, any_many)
      linear_norm = ReduceL2(linear_query, last)
      coarse_top, coarse_rows, coarse_hidden, from_query, from_items, coarse, maxima = If (is_one) <
        then_branch = narrow () =>
          (float[batch, n] one_top, int64[batch, n] one_rows, bool[batch, n] one_hidden,
           float[batch, n] one_from_query, float[batch, n] one_from_items,
           float[batch, n] one_coarse, float[batch, n] one_maxima)
        {{
          {narrow}
        }},
        else_branch = bytes () =>
          (float[batch, n] many_top, int64[batch, n] many_rows, bool[batch, n] many_hidden,
           float[batch, n] many_from_query, float[batch, n] many_from_items,
           float[batch, n] many_coarse, float[batch, n] many_maxima)
        {{
          {bytes}
        }}
      >
      {from_codes}
      worst = ReduceMin(coarse_top, last)
      fetched_count = Shape <start = 1, end = 2> (coarse_top)
      fetched_whole = Equal(fetched_count, table_rows)
      worst_hidden = Equal(worst, minus_infinity)
      all_fetched = Or(fetched_whole, worst_hidden)
      mean_score = MatMul(linear_query, mean)
      norms = Add(linear_norm, item_norm)
      squared = Mul(norms, norms)
      from_floats = Mul(squared, float_slack)
      above_coarse = Sum(mean_score, from_query, from_items, from_floats)
      bound = Add(worst, above_coarse)
      kth = ReduceMin(codes_scores, last)
      {kth_linear}
      within = GreaterOrEqual(kth_linear, bound)
      proven = Or(within, all_fetched)
      scan_unproven = Not(proven)
      unproven_flat = Squeeze(scan_unproven, last)
      unproven_int = Cast <to = 6> (unproven_flat)
      any_unproven = ReduceMax <keepdims = 0> (unproven_int)
      scan_floats = Cast <to = 9> (any_unproven)
      scan_rows, scan_scores = If (scan_floats) <
        then_branch = mend () => (int64[batch, k] mended_rows, float[batch, k] mended_scores)
        {{
          floor = Sub(kth_linear, above_coarse)
          least = Add(floor, from_items)
          block_slack = Mul(linear_norm, block_error)
          block_most = Add(maxima, block_slack)
          high_blocks = GreaterOrEqual(block_most, least)
          block_places = NonZero(high_blocks)
          block_row = Slice(block_places, one, two, zero)
          high_count = Shape <start = 1, end = 2> (block_row)
          is_few = LessOrEqual(high_count, quarter_of_blocks)
          few_of_one = And(is_few, single)
          widens = Squeeze(few_of_one)
          mended_rows, mended_scores = If (widens) <
            then_branch = widen () => (int64[batch, k] list_rows, float[batch, k] list_scores)
            {{
              high_column = Unsqueeze(block_row, one)
              high_members = Add(high_column, block_starts)
              member_rows = Reshape(high_members, flat_shape)
              member_scores = GatherElements <axis = 1> (coarse, member_rows)
              member_error = Gather(item_error, member_rows)
              member_slack = Mul(linear_norm, member_error)
              member_most = Add(member_scores, member_slack)
              is_candidate = GreaterOrEqual(member_most, least)
              candidate_flags = Squeeze(is_candidate, zero)
              candidates = Compress <axis = 1> (member_rows, candidate_flags)
              rows_listed = Squeeze(candidates, zero)
              {list}
            }},
            else_branch = floats () => (int64[batch, k] fine_mended_rows, float[batch, k] fine_mended_scores)
            {{
              unproven_places = NonZero(unproven_flat)
              mend = Transpose <perm = [1, 0]> (unproven_places)
              all_queries = GatherND(query, mend)
              all_hidden = GatherND(hidden_rows, mend)
              flag_count = Shape <start = 1, end = 2> (flags)
              flags_shape = Concat <axis = 0> (batch, flag_count)
              every_flags = Expand(flags, flags_shape)
              mend_flags = GatherND(every_flags, mend)
              {floats}
              fine_mended_rows = ScatterND(codes_rows, mend, floats_rows)
              fine_mended_scores = ScatterND(codes_scores, mend, floats_scores)
            }}
          >
        }},
        else_branch = codes () => (int64[batch, k] kept_rows, float[batch, k] kept_scores)
        {{
          kept_rows = Identity(codes_rows)
          kept_scores = Identity(codes_scores)
        }}
      >"""

# One query against codes with a scale a group of columns, of 4 bits where memory is what takes the time.
_NARROW = """grouped = Reshape(padded_query, group_shape)
          one_magnitude = Abs(grouped)
          one_largest = ReduceMax(one_magnitude, last)
          one_raw_step = Div(one_largest, query_levels)
          one_step = Max(one_raw_step, tiny)
          one_in_steps = Div(grouped, one_step)
          one_level = Round(one_in_steps)
          one_rounded = Mul(one_level, one_step)
          one_query = Reshape(one_rounded, code_shape)
          one_coarse = com.microsoft.MatMulNBits
            <K = {width}, N = {rows}, bits = {bits}, block_size = {group}, accuracy_level = 4>
            (one_query, narrow_codes, narrow_scales)
          one_difference = Sub(padded_query, one_query)
          one_difference_norm = ReduceL2(one_difference, last)
          one_from_query = Mul(one_difference_norm, narrow_norm)
          one_from_items = Mul(linear_norm, narrow_error_norm)
          one_wanted = Add(wanted, one_extra)
          one_blocks = Reshape(one_coarse, block_shape)
          one_maxima = ReduceMax <keepdims = 0> (one_blocks, one)
          {select}"""

# Many queries against codes of 8 bits: sums of products in whole numbers, of which a processor does most.
_BYTES = """scaled = Mul(linear_query, column_scale)
          magnitude = Abs(scaled)
          largest = ReduceMax(magnitude, last)
          raw_step = Div(largest, query_byte_levels)
          step = Max(raw_step, tiny)
          in_steps = Div(scaled, step)
          level = Round(in_steps)
          shifted = Add(level, query_byte_levels)
          code = Cast <to = 2> (shifted)
          chosen_coarse = MatMulInteger(code, byte_codes, code_zero)
          rounded = Mul(level, step)
          query_error = Sub(scaled, rounded)
          query_error_norm = ReduceL2(query_error, last)
          many_from_query = Mul(query_error_norm, byte_norm)
          scaled_norm = ReduceL2(scaled, last)
          many_from_items = Mul(scaled_norm, byte_error_norm)
          chosen_blocks = Reshape(chosen_coarse, block_shape)
          chosen_maxima = ReduceMax <keepdims = 0> (chosen_blocks, one)
          chosen_wanted = Add(wanted, many_extra)
          {select}
          chosen_float = Cast <to = 1> (chosen_top)
          chosen_scaled = Mul(chosen_float, step)
          chosen_none = Equal(chosen_top, least_int)
          many_top = Where(chosen_none, minus_infinity, chosen_scaled)
          many_rows = Identity(chosen_rows)
          many_hidden = Identity(chosen_hidden)
          many_coarse = Identity(no_scores_at_all)
          many_maxima = Identity(no_scores_at_all)"""

# The best of [batch, rows] coarse scores. Filters and many excluded rows are applied before the selection; a few
# excluded rows are fetched with the others and dropped.
_SELECT = """{p}_top, {p}_rows, {p}_hidden = If (masked) <
            then_branch = {p}_hide () =>
              ({type}[batch, n] {p}_m_top, int64[batch, n] {p}_m_rows, bool[batch, n] {p}_m_hidden)
            {{
              {p}_allowed = Where(flags, {p}_coarse, {lowest})
              {p}_hidden_shape = Shape(hidden_rows)
              {p}_lowest_all = Expand({lowest}, {p}_hidden_shape)
              {p}_visible = ScatterElements <axis = 1> ({p}_allowed, hidden_rows, {p}_lowest_all)
              {p}_m_fetched = Min({p}_wanted, table_rows)
              {masked_choice}
              {p}_m_hidden = Equal({p}_m_top, {lowest})
            }},
            else_branch = {p}_show () =>
              ({type}[batch, n] {p}_s_top, int64[batch, n] {p}_s_rows, bool[batch, n] {p}_s_hidden)
            {{
              {p}_s_more = Add({p}_wanted, exclude_count)
              {p}_s_plenty = Add({p}_s_more, padding)
              {p}_s_fetched = Min({p}_s_plenty, table_rows)
              {shown_choice}
              {p}_s_column = Unsqueeze({p}_s_rows, last)
              {p}_s_excluded = Unsqueeze(hidden_rows, one)
              {p}_s_same = Equal({p}_s_column, {p}_s_excluded)
              {p}_s_same_int = Cast <to = 2> ({p}_s_same)
              {p}_s_any = ReduceMax <keepdims = 0> ({p}_s_same_int, last)
              {p}_s_hidden = Cast <to = 9> ({p}_s_any)
            }}
          >"""

# In two steps: the blocks with the largest maxima, then the best within them. A block's items lie a stride apart, so
# that the maxima of all blocks are taken in vectors. None of the n best lies outside the n best blocks.
_MAXIMA = """{c}_blocks = Reshape({source}, block_shape)
              {c}_maxima = ReduceMax <keepdims = 0> ({c}_blocks, one)
              """
_CHOICE = """{c}_block_fetched = Min({c}_fetched, block_count)
              {c}_block_top, {c}_block_places = TopK <sorted = 0> ({maxima}, {c}_block_fetched)
              {c}_block_column = Unsqueeze({c}_block_places, one)
              {c}_members = Add({c}_block_column, block_starts)
              {c}_member_rows = Reshape({c}_members, flat_shape)
              {c}_member_scores = GatherElements <axis = 1> ({source}, {c}_member_rows)
              {c}_top, {c}_member_places = TopK <sorted = 0> ({c}_member_scores, {c}_fetched)
              {c}_rows = GatherElements <axis = 1> ({c}_member_rows, {c}_member_places)"""

_QUERY: dict[Similarity, str] = {  # linear_query: what the codes multiply with
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

_EXACT = """{p}_vectors = Gather(items, {top}_rows)
      {similarity}
      {p}_ranked = Where({top}_hidden, minus_infinity, {p}_similarity)
      {p}_scores, {p}_places = TopK({p}_ranked, {k})
      {p}_found = GatherElements <axis = 1> ({top}_rows, {p}_places)
      {p}_none = Equal({p}_scores, minus_infinity)
      {p}_rows = Where({p}_none, last, {p}_found)"""


def graph_text(similarity: Similarity, *, dim: int, rows: int, coded: Codes | None) -> str:
    """The graph for items [rows, dim]. coded: None for a graph without codes."""

    def exact(prefix: str, top: str, queries: str, k: str = "k") -> str:
        template = _DISTANCE if similarity == "euclidean" else _PRODUCT
        return _EXACT.format(p=prefix, top=top, k=k, similarity=template.format(p=prefix, queries=queries))

    def linear(name: str, left: str, queries: str, vectors: str, offset: str) -> str:
        if similarity != "euclidean":
            return f"{name} = Gemm <transB = 1> ({queries}, {vectors})"
        return f"{left}\n      {name} = Gemm <transB = 1> ({queries}, {vectors}, {offset})"

    def by_list(name: str, flags: str) -> str:
        scores = linear("list_linear", f"list_offset = Gather(offset, {name})", "query", "list_vectors", "list_offset")
        return _LIST.format(
            listed=name, flags=flags, linear=scores, exact=exact("listed", "listfine", "query", "list_k")
        )

    # Only a scan of few items keeps float32 tables as the right factor, of which ONNX Runtime makes a packed copy.
    if coded is None:
        fine = linear("fine", "", "all_queries", "items", "offset")
    else:
        product = "fine_left = Transpose (all_queries)\n      fine_right = MatMul(items, fine_left)\n      "
        fine = product + ("fine_product" if similarity == "euclidean" else "fine") + " = Transpose (fine_right)"
        if similarity == "euclidean":
            fine += "\n      fine = Add(fine_product, offset)"
    by_distance = _BEST_BY_DISTANCE.format(exact=exact("floats", "fine", "all_queries"))
    floats = _FLOATS.format(
        linear=fine,
        flags="mend_flags" if coded else "flags",
        best=by_distance if similarity == "euclidean" else _BEST,
    )
    return _GRAPH.format(
        dim=dim,
        query=_QUERY[similarity],
        list=by_list("listed", "true"),
        scan=_coded_scan(
            similarity, rows, coded, floats, by_list("rows_listed", "flags"), exact("codes", "coarse", "query")
        )
        if coded
        else _PLAIN_SCAN.format(floats=floats),
    )


def _coded_scan(similarity: Similarity, rows: int, coded: Codes, floats: str, listed: str, from_codes: str) -> str:
    pad = "padded_query = Pad(linear_query, query_pads)"
    narrow = _NARROW.format(**coded._asdict(), rows=rows, select=_select("one", "float", "minus_infinity"))
    bytes_ = _BYTES.format(select=_select("chosen", "int32", "least_int"))
    return _CODED_SCAN.format(
        narrow=f"{pad}\n          {narrow}",
        bytes=bytes_,
        from_codes=from_codes,
        kth_linear=_KTH_LINEAR[similarity],
        floats=floats,
        list=listed,
    )


def _select(prefix: str, dtype: str, lowest: str) -> str:
    hidden, shown = f"{prefix}_m", f"{prefix}_s"
    return _SELECT.format(
        p=prefix,
        type=dtype,
        lowest=lowest,
        masked_choice=_MAXIMA.format(c=hidden, source=f"{prefix}_visible")
        + _CHOICE.format(c=hidden, source=f"{prefix}_visible", maxima=f"{hidden}_maxima"),
        shown_choice=_CHOICE.format(c=shown, source=f"{prefix}_coarse", maxima=f"{prefix}_maxima"),
    )
