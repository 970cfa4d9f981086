"""Statistics of one feature: its most frequent values or its quantile bins, and the difference from earlier ones."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import Array
from two_tower.schema import Dtype, Encoding, Feature
from two_tower.statistics.profile import mean_day, numbers

VALUES = 500  # the description contains at most this many values of a feature
BINS = 10
LOST = 0.01  # a value with at least this share counts as lost if it disappears
BEYOND = 0.25  # margin on both sides, as a share of the width of the old range: counts grow, prices rise
# UTF-8 that was decoded as Latin-1 or cp1252, or could not be decoded
GARBLED = "[ÂÃ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€|\ufffd"
NO_VALUE = r"(?i)^\s*(nan|none|null|n/a|undefined|<na>|\\n)?\s*$"  # strings that stand for a missing value
_LISTS = (Dtype.STRINGS, Dtype.INTS)


def feature(
    column: pa.ChunkedArray, f: Feature, seconds: Array, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Describe one feature.

    Args:
        column: (rows,) values.
        f: The feature.
        seconds: (rows,) int64, the time of each row in seconds since 1970.
        before: The earlier description of the feature. None: no comparison.

    Returns:
        JSON values: `rows`, `null_share`, and one of these groups:

        - Categories, hashed values and lists: `values` (the most frequent values as text, with their shares) and
          `whole` (whether these are all values). For lists, the values are the elements, and `lengths` describes the
          lengths as numbers. With `before`: `psi`, and the shares of `new` and of `lost` values.
        - Numbers: the `edges` and `shares` of at most 10 quantile bins, `least`, `greatest`, `mode` (the most frequent
          value) and `most_frequent` (its share). With `before`: `psi`, and the share `outside` the old range. Ages also
          have `day`, the mean time of the rows in days since 1970: an age grows with the clock, so it is compared as it
          is and less the days between the two descriptions, and the smaller difference counts.
    """
    description: dict[str, Any] = {"rows": len(column), "null_share": column.null_count / max(1, len(column))}
    if f.is_discrete:
        is_list = f.dtype in _LISTS
        description |= _values((pc.list_flatten(column) if is_list else column).drop_null(), before)
        if is_list:
            lengths = pc.list_value_length(column).drop_null().to_numpy().astype(np.float64)
            description["lengths"] = describe_numbers(lengths, (before or {}).get("lengths"))
        return description
    values = numbers(column, f, seconds)
    if f.encoding != Encoding.AGE or not len(values):
        return description | describe_numbers(values, before)
    day = mean_day(seconds)
    description |= describe_numbers(values, before) | {"day": day}
    if "psi" in description and before and "day" in before:
        unmoved = describe_numbers(values - (day - before["day"]), before)
        description |= {name: min(description[name], unmoved[name]) for name in ("psi", "outside")}
    return description


def _values(known: pa.ChunkedArray, before: Mapping[str, Any] | None) -> dict[str, Any]:
    counted = known.value_counts()
    counts = counted.field("counts")
    top = pc.select_k_unstable(counts, k=min(VALUES, len(counts)), sort_keys=[("counts", "descending")])
    weights = (counts.take(top).to_numpy() / max(1, len(known))).tolist()
    names = [str(v) for v in counted.field("values").take(top).to_pylist()]
    values = dict(zip(names, weights, strict=True))
    description: dict[str, Any] = {"distinct": len(counts), "whole": len(counts) <= VALUES, "values": values}
    if pa.types.is_string(known.type):
        for name, pattern in (("garbled", GARBLED), ("no_value", NO_VALUE)):
            matches = pc.match_substring_regex(counted.field("values"), pattern)
            description[name] = (pc.sum(counts.filter(matches)).as_py() or 0) / max(1, len(known))
    if before and before.get("values") and values:
        old = before["values"]
        description["new"] = 1 - sum(share for value, share in values.items() if value in old)
        description["lost"] = sum(s for value, s in old.items() if s >= LOST and value not in values)
        rest = [1 - sum(old.values()), 1 - sum(values.get(v, 0) for v in old)]
        description["psi"] = psi([*old.values(), rest[0]], [*(values.get(v, 0) for v in old), rest[1]])
    return description


def describe_numbers(known: Array, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Describe numbers by quantile bins; see `feature`. Empty if there are no numbers."""
    if not len(known):
        return {}
    ordered = np.sort(known)
    edges = np.unique(ordered[(np.arange(1, BINS) * len(ordered)) // BINS])
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]]))
    runs = np.diff(starts)
    description = {
        "edges": edges.tolist(),
        "shares": shares(ordered, edges).tolist(),
        "least": float(ordered[0]),
        "greatest": float(ordered[-1]),
        "distinct": len(runs),
        "mode": float(ordered[starts[runs.argmax()]]),
        "most_frequent": float(runs.max() / len(ordered)),
    }
    if before and "edges" in before:
        description["psi"] = psi(before["shares"], shares(ordered, before["edges"]))
        margin = BEYOND * (before["greatest"] - before["least"])
        lowest = before["least"] - margin
        if before["least"] >= 0:  # prices, counts and ages are never negative
            lowest = max(0.0, lowest)
        ends = np.searchsorted(ordered, [lowest, before["greatest"] + margin], side="left")
        description["outside"] = float((len(ordered) - (ends[1] - ends[0])) / len(ordered))
        if before["greatest"] == before["least"]:
            description["outside"] = float((ordered != before["least"]).mean())
    return description


def shares(values: Array, edges: Any) -> Array:
    """Return the share of values in each bin.

    Args:
        values: (values,) numbers.
        edges: (edges,) inner edges, ascending. The bins are (-inf, edge 0), [edge 0, edge 1), and so on.

    Returns:
        (edges + 1,) float64.
    """
    bins = np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="right")
    return np.bincount(bins, minlength=len(edges) + 1) / max(1, len(values))


def psi(before: Any, now: Any) -> float:
    """Compute the population stability index of two distributions over the same bins.

    Below 0.1 the distributions are similar; above 0.25 they are very different. The share of an empty bin counts as
    0.0001.

    Args:
        before: (bins,) shares.
        now: (bins,) shares.

    Returns:
        The index, at least 0.

    Source:
        Siddiqi, Credit Risk Scorecards, 2006, chapter 7.
    """
    p, q = (np.maximum(np.asarray(x, dtype=np.float64), 1e-4) for x in (before, now))
    return float(((q - p) * np.log(q / p)).sum())
