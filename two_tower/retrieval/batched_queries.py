"""Graph text of the scan for several queries: a fixed number of candidates, their exact scores, and a proof.

The proof shows that no other row can be among the top k. A query without a proof is scanned in float32.
"""

from two_tower.retrieval.selection_graph import Scoring, excluded, top_rows

# Several queries against 8-bit codes: integer products, which a processor computes fastest.
_BYTES = """scaled = Mul(linear_query, column_scale)
          magnitude = Abs(scaled)
          largest = ReduceMax(magnitude, last)
          raw_step = Div(largest, query_byte_levels)
          step = Max(raw_step, tiny)
          in_steps = Div(scaled, step)
          level = Round(in_steps)
          shifted = Add(level, query_byte_levels)
          code = Cast <to = 2> (shifted)
          coarse = MatMulInteger(code, byte_codes, code_zero)
          rounded = Mul(level, step)
          query_error = Sub(scaled, rounded)
          query_error_norm = ReduceL2(query_error, last)
          from_query = Mul(query_error_norm, byte_norm)
          scaled_norm = ReduceL2(scaled, last)
          from_items = Mul(scaled_norm, byte_error_norm)
          bytes_wanted = Add(wanted, many_extra)
          codes_top, coarse_rows, coarse_hidden = If (masked) <
            then_branch = hide () =>
              (int32[batch, n] hide_top, int64[batch, n] hide_rows, bool[batch, n] hide_hidden)
            {{
              hide_allowed = Where(flags, coarse, least_int)
              hide_shape = Shape(hidden_rows)
              hide_lowest = Expand(least_int, hide_shape)
              hide_coarse = ScatterElements <axis = 1> (hide_allowed, hidden_rows, hide_lowest)
              hide_fetched = Min(bytes_wanted, table_rows)
              {hide}
              hide_hidden = Equal(hide_top, least_int)
            }},
            else_branch = show () =>
              (int32[batch, n] show_top, int64[batch, n] show_rows, bool[batch, n] show_hidden)
            {{
              show_wanted = Add(bytes_wanted, spare)
              show_fetched = Min(show_wanted, table_rows)
              {show}
              {excluded}
            }}
          >
          top_float = Cast <to = 1> (codes_top)
          top_scaled = Mul(top_float, step)
          top_none = Equal(codes_top, least_int)
          coarse_top = Where(top_none, minus_infinity, top_scaled)
          above_coarse = Sum(mean_score, from_query, from_items, from_floats)
          {proof}"""

# The exact top k of the candidates. The lowest coarse score of a candidate plus the largest rounding error
# (`above_coarse`) bounds the score of every other row. If the k-th score reaches this bound, the top k is proven.
_PROOF = """{exact}
          ranked = Where(coarse_hidden, minus_infinity, {p}_similarity)
          {p}_scores, {p}_places = TopK(ranked, k)
          {p}_found = GatherElements <axis = 1> (coarse_rows, {p}_places)
          {p}_none = Equal({p}_scores, minus_infinity)
          {p}_rows = Where({p}_none, last, {p}_found)
          worst = ReduceMin(coarse_top, last)
          fetched_count = Shape <start = 1, end = 2> (coarse_top)
          fetched_whole = Equal(fetched_count, table_rows)
          worst_hidden = Equal(worst, minus_infinity)
          all_fetched = Or(fetched_whole, worst_hidden)
          bound = Add(worst, above_coarse)
          kth = ReduceMin({p}_scores, last)
          {kth_linear}
          within = GreaterOrEqual(kth_linear, bound)
          proven = Or(within, all_fetched)
          {p}_unproven = Not(proven)"""

# All queries against float16 items (see `two_tower.retrieval.half`). Both are scaled so that no sum overflows.
_HALF = """raw_step = Div(linear_norm, query_norm)
      step = Max(raw_step, tiny)
      scaled = Div(linear_query, step)
      half_query = Cast <to = 10> (scaled)
      coarse = Gemm <transB = 1> (half_query, half_items)
      linear_step = Mul(step, item_step)
      from_half = Mul(linear_step, half_slack)
      above_coarse = Sum(mean_score, from_half, from_floats)
      half_allowed = Where(flags, coarse, half_lowest)
      half_shape = Shape(hidden_rows)
      half_hidden = Expand(half_lowest, half_shape)
      half_coarse = ScatterElements <axis = 1> (half_allowed, hidden_rows, half_hidden)
      half_wanted = Add(wanted, many_extra)
      half_fetched = Min(half_wanted, table_rows)
      {top_rows}
      coarse_hidden = Equal(half_top, half_lowest)
      top_float = Cast <to = 1> (half_top)
      top_scaled = Mul(top_float, linear_step)
      coarse_top = Where(coarse_hidden, minus_infinity, top_scaled)
      {proof}"""


def bytes_text(scoring: Scoring) -> str:
    """Build the text of the scan of 8-bit codes.

    Args:
        scoring: Texts that depend on the similarity.

    Returns:
        Nodes whose outputs are `bytes_rows`, `bytes_scores` and `bytes_unproven`.
    """
    return _BYTES.format(
        hide=top_rows("hide", "hide_coarse", "hide_rows"),
        show=top_rows("show", "coarse", "show_rows"),
        excluded=excluded("show"),
        proof=_proof("bytes", scoring),
    )


def half_text(scoring: Scoring) -> str:
    """Build the text of the scan of float16 items.

    Args:
        scoring: Texts that depend on the similarity.

    Returns:
        Nodes whose outputs are `codes_rows`, `codes_scores` and `codes_unproven`.
    """
    return _HALF.format(top_rows=top_rows("half", "half_coarse", "coarse_rows"), proof=_proof("codes", scoring))


def _proof(prefix: str, scoring: Scoring) -> str:
    exact = scoring.exact(prefix, "coarse_rows")
    return _PROOF.format(p=prefix, exact=exact, kth_linear=scoring.kth_linear)
