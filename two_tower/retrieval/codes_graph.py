"""The part of a retrieval graph's text that scans codes (see `two_tower.retrieval.index` for what it computes)."""

from collections.abc import Callable
from typing import Literal, NamedTuple


class Codes(NamedTuple):
    """Of the codes for single queries: bits a code, padded columns an item, columns that share a scale."""

    bits: Literal[4, 8]
    width: int
    group: int


class Scoring(NamedTuple):
    """The texts that differ by similarity. exact: of a prefix and the name of row numbers [batch, c], the text that
    puts the rows' exact scores, [batch, c], into `<prefix>_similarity`. kth_linear: takes `kth`, the k-th exact score,
    to the linear scale of the codes. floats: a scan in float32 of `all_queries`, as `floats_rows` and `floats_scores`.
    """

    exact: Callable[[str, str], str]
    kth_linear: str
    floats: str


BLOCK = 32  # neighbouring scores of which the largest stands for all in the first selection
FEW_EXCLUDED = 128  # up to so many excluded rows are fetched and dropped; more are hidden before the selection

_SCAN = """single = Equal(batch, one)
      is_one = Squeeze(single)
      many_excluded = Greater(exclude_count, few_excluded)
      any_many = Squeeze(many_excluded)
      masked = Or(filtered, any_many)
      spare = Add(exclude_count, padding)
      linear_norm = ReduceL2(linear_query, last)
      mean_score = MatMul(linear_query, mean)
      norms = Add(linear_norm, item_norm)
      squared = Mul(norms, norms)
      from_floats = Mul(squared, float_slack)
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

# The queries without a proof, answered by a scan in float32.
_MEND = """unproven_flat = Squeeze(scan_unproven, last)
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

# One query against codes with a scale a group of columns, of 4 bits where memory is what takes the time.
_NARROW = """padded_query = Pad(linear_query, query_pads)
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

# The best few by their coarse scores, scored exactly, give a lower bound of the k-th score. A row whose coarse score is
# further below it than rounding can have moved it is not among the best k; all others are scored exactly. Where these
# are too many, the query is left unproven.
_ONE = """{p}_fetched = Min({p}_wanted, table_rows)
              {choice}
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

# The best k, exactly, of the rows fetched by their coarse scores; and whether the worst of these, raised by all that
# rounding can have taken from it (`above_coarse`), leaves no place among them to a row that was not fetched.
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

# All queries against items of float16 (see `two_tower.retrieval.half`). Both are scaled, so that no sum overflows.
_HALF = """linear_norm = ReduceL2(linear_query, last)
      mean_score = MatMul(linear_query, mean)
      norms = Add(linear_norm, item_norm)
      squared = Mul(norms, norms)
      from_floats = Mul(squared, float_slack)
      raw_step = Div(linear_norm, query_norm)
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
      {choice}
      coarse_hidden = Equal(half_top, half_lowest)
      top_float = Cast <to = 1> (half_top)
      top_scaled = Mul(top_float, linear_step)
      coarse_top = Where(coarse_hidden, minus_infinity, top_scaled)
      {proof}
      scan_unproven = Identity(codes_unproven)
      {mend}"""

# The `fetched` best of coarse scores [batch, rows] in two steps: the blocks with the largest maxima, then the best
# within them. None of the n best lies outside the n best blocks.
_CHOICE = """{p}_blocks = Reshape({source}, block_shape)
              {p}_maxima = ReduceMax <keepdims = 0> ({p}_blocks, last)
              {p}_block_fetched = Min({p}_fetched, block_count)
              {p}_block_top, {p}_block_places = TopK <sorted = 0> ({p}_maxima, {p}_block_fetched)
              {members}
              {p}_top, {p}_member_places = TopK <sorted = 0> ({p}_member_scores, {p}_fetched)
              {found} = GatherElements <axis = 1> ({p}_member_rows, {p}_member_places)"""
# The rows of blocks [batch, b], [batch, b * block].
_MEMBERS = """{p}_column = Unsqueeze({blocks}, last)
              {p}_starts = Mul({p}_column, block)
              {p}_all = Add({p}_starts, lanes)
              {p}_rows = Reshape({p}_all, flat_shape)"""
# What a table by block, [batch, blocks, block], holds of these, [batch, b * block]: copied a block at a time.
_OF_MEMBERS = """{p}_{what}_blocks = GatherND <batch_dims = 1> ({table}, {p}_column)
              {p}_{what} = Reshape({p}_{what}_blocks, flat_shape)"""
_EXCLUDED = """{p}_ahead = Unsqueeze({p}_rows, last)
              {p}_excluded = Unsqueeze(hidden_rows, one)
              {p}_same = Equal({p}_ahead, {p}_excluded)
              {p}_same_int = Cast <to = 2> ({p}_same)
              {p}_any = ReduceMax <keepdims = 0> ({p}_same_int, last)
              {p}_hidden = Cast <to = 9> ({p}_any)"""


def scan_text(rows: int, codes: Codes, scoring: Scoring) -> str:
    """The scan of `rows` coded items: takes `query`, `linear_query`, `hidden_rows` and `flags`, gives `scan_rows`,
    `scan_scores` and `scan_unproven`.
    """
    narrow = _NARROW.format(
        **codes._asdict(), rows=rows, hide=_one("hide", "hide_coarse", scoring), show=_one("show", "coarse", scoring)
    )
    bytes_ = _BYTES.format(
        hide=_choice("hide", "hide_coarse", "hide_rows"),
        show=_choice("show", "coarse", "show_rows"),
        excluded=_EXCLUDED.format(p="show"),
        proof=_proof("bytes", scoring),
    )
    return _SCAN.format(narrow=narrow, bytes=bytes_, mend=_MEND.format(floats=scoring.floats))


def half_text(scoring: Scoring) -> str:
    """The scan of float16 items, of whatever number of queries: takes and gives what `scan_text` does."""
    choice = _choice("half", "half_coarse", "coarse_rows")
    return _HALF.format(choice=choice, proof=_proof("codes", scoring), mend=_MEND.format(floats=scoring.floats))


def _proof(prefix: str, scoring: Scoring) -> str:
    exact = scoring.exact(prefix, "coarse_rows")
    return _PROOF.format(p=prefix, exact=exact, kth_linear=scoring.kth_linear)


def _one(prefix: str, source: str, scoring: Scoring) -> str:
    """Of one query: with rows hidden in `source` already, or to be dropped from those that are found."""
    hide = prefix == "hide"
    found = f"{prefix}first_rows"
    hidden = f"{prefix}_hidden = Equal({prefix}_top, minus_infinity)"
    if not hide:
        hidden = _EXCLUDED.format(p=f"{prefix}first") + f"\n{prefix}_hidden = Identity({prefix}first_hidden)"
    best = _BEST if hide else _BEST_NOT_EXCLUDED
    return _ONE.format(
        p=prefix,
        choice=_choice(prefix, source, found),
        first=scoring.exact(f"{prefix}_first", found) + "\n" + hidden,
        kth_linear=scoring.kth_linear,
        members=_members(f"{prefix}_high", f"{prefix}_high", scores=f"{prefix}_blocks", error="item_error"),
        near=scoring.exact(f"{prefix}_near", f"{prefix}_near_rows"),
        best=best.format(p=prefix, excluded=_EXCLUDED.format(p="near")),
    )


def _choice(prefix: str, source: str, found: str) -> str:
    members = _members(f"{prefix}_member", f"{prefix}_block_places", scores=f"{prefix}_blocks")
    return _CHOICE.format(p=prefix, source=source, members=members, found=found)


def _members(prefix: str, blocks: str, **tables: str) -> str:
    """The rows of blocks, and of each table by block what it holds of them, as `<prefix>_<name>`."""
    rows = _MEMBERS.format(p=prefix, blocks=blocks)
    return "\n".join([rows, *(_OF_MEMBERS.format(p=prefix, what=n, table=t) for n, t in tables.items())])
