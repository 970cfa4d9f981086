"""Graph text of the scan for one query: a lower bound of the k-th score, exact scores of all rows that reach it."""

from typing import Literal, NamedTuple

from two_tower.retrieval.selection_graph import Scoring, excluded, members, top_rows


class Codes(NamedTuple):
    """Shape of the codes for single queries.

    Attributes:
        bits: Bits per code.
        width: Columns per item, padding included.
        group: Columns that share a scale.
    """

    bits: Literal[4, 8]
    width: int
    group: int


# One query against codes with a scale per group of columns; 4 bits per code where reading memory takes the time.
_SINGLE_QUERY = """padded_query = Pad(linear_query, query_pads)
          grouped = Reshape(padded_query, group_shape)
          magnitude = Abs(grouped)
          largest = ReduceMax(magnitude, last)
          raw_step = Div(largest, query_levels)
          step = Max(raw_step, tiny)
          in_steps = Div(grouped, step)
          level = Round(in_steps)
          rounded = Mul(level, step)
          rounded_query = Reshape(rounded, code_shape)
          coarse = com.microsoft.MatMulNBits
            <K = {width}, N = {rows}, bits = {bits}, block_size = {group}, accuracy_level = 4>
            (rounded_query, narrow_codes, narrow_scales)
          difference = Sub(padded_query, rounded_query)
          difference_norm = ReduceL2(difference, last)
          from_query = Mul(difference_norm, narrow_norm)
          slack = Sum(mean_score, from_query, from_floats)
          hide_wanted = Add(k, four)
          show_wanted = Add(hide_wanted, spare)
          narrow_rows, narrow_scores, narrow_unproven = If (masked) <
            then_branch = hide () =>
              (int64[batch, k] hide_rows, float[batch, k] hide_scores, bool[batch, 1] hide_unproven)
            {{
              hide_allowed = Where(flags, coarse, minus_infinity)
              hide_shape = Shape(hidden_rows)
              hide_lowest = Expand(minus_infinity, hide_shape)
              hide_coarse = ScatterElements <axis = 1> (hide_allowed, hidden_rows, hide_lowest)
              {hide}
            }},
            else_branch = show () =>
              (int64[batch, k] show_rows, float[batch, k] show_scores, bool[batch, 1] show_unproven)
            {{
              {show}
            }}
          >"""

# The exact scores of a few rows with the best coarse scores give a lower bound of the k-th score. A row whose coarse
# score is below this bound by more than the largest rounding error is not in the top k. All other rows are scored
# exactly. If these are too many, the query stays unproven.
_BOUND_AND_RESCORE = """{p}_fetched = Min({p}_wanted, table_rows)
              {top_rows}
              {first}
              {p}_first_ranked = Where({p}_hidden, minus_infinity, {p}_first_similarity)
              {p}_kth_scores, {p}_kth_places = TopK({p}_first_ranked, k)
              kth = ReduceMin({p}_kth_scores, last)
              {kth_linear}
              {p}_least = Sub(kth_linear, slack)
              {p}_block_slack = Mul(linear_norm, block_error)
              {p}_block_most = Add({p}_maxima, {p}_block_slack)
              {p}_block_high = GreaterOrEqual({p}_block_most, {p}_least)
              {p}_block_flags = Squeeze({p}_block_high, zero)
              {p}_high = Compress <axis = 1> (block_places, {p}_block_flags)
              {members}
              {p}_high_slack = Mul(linear_norm, {p}_high_error)
              {p}_high_most = Add({p}_high_scores, {p}_high_slack)
              {p}_near = GreaterOrEqual({p}_high_most, {p}_least)
              {p}_near_flags = Squeeze({p}_near, zero)
              {p}_near_rows = Compress <axis = 1> ({p}_high_rows, {p}_near_flags)
              {p}_near_count = Shape <start = 1, end = 2> ({p}_near_rows)
              {p}_is_few = LessOrEqual({p}_near_count, few_near)
              {p}_few = Squeeze({p}_is_few)
              {p}_rows, {p}_scores, {p}_unproven = If ({p}_few) <
                then_branch = {p}_rescore () =>
                  (int64[batch, k] {p}_best_rows, float[batch, k] {p}_best_scores, bool[batch, 1] {p}_false)
                {{
                  {p}_false = Expand(false, batch_column)
                  {near}
                  {best}
                }},
                else_branch = {p}_too_many () =>
                  (int64[batch, k] {p}_no_rows, float[batch, k] {p}_no_scores, bool[batch, 1] {p}_true)
                {{
                  {p}_true = Expand(true, batch_column)
                  {p}_no_shape = Concat <axis = 0> (batch, k)
                  {p}_no_rows = Expand(last, {p}_no_shape)
                  {p}_no_scores = Expand(minus_infinity, {p}_no_shape)
                }}
              >"""

_BEST = """{p}_best_scores, {p}_best_places = TopK({p}_near_similarity, k)
                  {p}_best_rows = GatherElements <axis = 1> ({p}_near_rows, {p}_best_places)"""
_BEST_NOT_EXCLUDED = """{p}_near_most = Add(k, spare)
                  {p}_near_fetched = Min({p}_near_most, {p}_near_count)
                  {p}_near_top, {p}_near_places = TopK <sorted = 0> ({p}_near_similarity, {p}_near_fetched)
                  near_rows = GatherElements <axis = 1> ({p}_near_rows, {p}_near_places)
                  {excluded}
                  {p}_near_ranked = Where(near_hidden, minus_infinity, {p}_near_top)
                  {p}_best_scores, {p}_best_places = TopK({p}_near_ranked, k)
                  {p}_best_rows = GatherElements <axis = 1> (near_rows, {p}_best_places)"""


def single_query_text(rows: int, codes: Codes, scoring: Scoring) -> str:
    """Build the text of the scan for one query.

    Args:
        rows: Rows of the tables, padding included.
        codes: Shape of the codes.
        scoring: Texts that depend on the similarity.

    Returns:
        Nodes whose outputs are `narrow_rows`, `narrow_scores` and `narrow_unproven`.
    """
    hide = _bound_and_rescore("hide", "hide_coarse", scoring)
    show = _bound_and_rescore("show", "coarse", scoring)
    return _SINGLE_QUERY.format(**codes._asdict(), rows=rows, hide=hide, show=show)


def _bound_and_rescore(prefix: str, source: str, scoring: Scoring) -> str:
    """The branch for which excluded rows are hidden in `source` (`hide`), or dropped at the end (`show`)."""
    hide = prefix == "hide"
    first_rows = f"{prefix}first_rows"
    hidden = f"{prefix}_hidden = Equal({prefix}_top, minus_infinity)"
    if not hide:
        hidden = excluded(f"{prefix}first") + f"\n{prefix}_hidden = Identity({prefix}first_hidden)"
    best = _BEST if hide else _BEST_NOT_EXCLUDED
    return _BOUND_AND_RESCORE.format(
        p=prefix,
        top_rows=top_rows(prefix, source, first_rows),
        first=scoring.exact(f"{prefix}_first", first_rows) + "\n" + hidden,
        kth_linear=scoring.kth_linear,
        members=members(f"{prefix}_high", f"{prefix}_high", scores=f"{prefix}_blocks", error="item_error"),
        near=scoring.exact(f"{prefix}_near", f"{prefix}_near_rows"),
        best=best.format(p=prefix, excluded=excluded("near")),
    )
