"""Parse texts as numbers."""

import pyarrow as pa
import pyarrow.compute as pc

MOST_LOST = 0.01  # at most this share of the values may be invalid; they become missing


def numbers(distinct: pa.Array) -> pa.Array:
    """Parse texts as floats; null if a text is not a finite number."""
    form = pc.match_substring_regex(distinct, r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?$")
    numbers = pc.if_else(form, distinct, pa.scalar(None, pa.string()))
    numbers = pc.utf8_ltrim(numbers, "+").cast(pa.float64())
    return pc.if_else(pc.is_finite(numbers), numbers, pa.scalar(None, pa.float64()))


def lost(texts: pa.Array, values: pa.Array) -> int:
    return int(values.null_count - texts.null_count)
