"""Graph text of the scan of quantized items (`two_tower.retrieval.index` describes the computation)."""

from typing import Literal

from two_tower.retrieval.batched_queries import bytes_text, half_text
from two_tower.retrieval.selection_graph import Scoring
from two_tower.retrieval.single_query import Codes, single_query_text

FEW_EXCLUDED = 128  # up to this many excluded rows are fetched and dropped; more are hidden before the selection

# The largest error of a score that rounding in float32 causes.
_SLACK = """linear_norm = ReduceL2(linear_query, last)
      mean_score = MatMul(linear_query, mean)
      norms = Add(linear_norm, item_norm)
      squared = Mul(norms, norms)
      from_floats = Mul(squared, float_slack)"""

_SCAN = """single = Equal(batch, one)
      is_one = Squeeze(single)
      many_excluded = Greater(exclude_count, few_excluded)
      any_many = Squeeze(many_excluded)
      masked = Or(filtered, any_many)
      spare = Add(exclude_count, padding)
      {slack}
      codes_rows, codes_scores, scan_unproven = If (is_one) <
        then_branch = narrow () =>
          (int64[batch, k] narrow_rows, float[batch, k] narrow_scores, bool[batch, 1] narrow_unproven)
        {{
          {narrow}
        }},
        else_branch = bytes () =>
          (int64[batch, k] bytes_rows, float[batch, k] bytes_scores, bool[batch, 1] bytes_unproven)
        {{
          {bytes}
        }}
      >
      {mend}"""

# A scan in float32 for the queries without a proof.
_RESCAN = """unproven_flat = Squeeze(scan_unproven, last)
      unproven_int = Cast <to = 6> (unproven_flat)
      any_unproven = ReduceMax <keepdims = 0> (unproven_int)
      scan_floats = Cast <to = 9> (any_unproven)
      scan_rows, scan_scores = If (scan_floats) <
        then_branch = mend () => (int64[batch, k] mended_rows, float[batch, k] mended_scores)
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
          mended_rows = ScatterND(codes_rows, mend, floats_rows)
          mended_scores = ScatterND(codes_scores, mend, floats_scores)
        }},
        else_branch = proven () => (int64[batch, k] kept_rows, float[batch, k] kept_scores)
        {{
          kept_rows = Identity(codes_rows)
          kept_scores = Identity(codes_scores)
        }}
      >"""

_HALF_SCAN = """{slack}
      {half}
      scan_unproven = Identity(codes_unproven)
      {mend}"""


def scan_text(rows: int, codes: Codes | Literal["half"], scoring: Scoring) -> str:
    """Build the text of the scan, whose inputs are `query`, `linear_query`, `hidden_rows` and `flags`.

    Args:
        rows: Rows of the tables, padding included.
        codes: Shape of the codes for single queries, or `half` for float16 items.
        scoring: Texts that depend on the similarity.

    Returns:
        Nodes whose outputs are `scan_rows`, `scan_scores` and `scan_unproven`.
    """
    rescan = _RESCAN.format(floats=scoring.floats)
    if codes == "half":
        return _HALF_SCAN.format(slack=_SLACK, half=half_text(scoring), mend=rescan)
    narrow = single_query_text(rows, codes, scoring)
    return _SCAN.format(slack=_SLACK, narrow=narrow, bytes=bytes_text(scoring), mend=rescan)
