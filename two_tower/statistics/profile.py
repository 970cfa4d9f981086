"""The reference profile: the distribution of each feature in the training data, for later drift checks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import Array, column_to_input
from two_tower.schema import MISSING_INT, Dtype, Encoding, Feature

TOP = 20
QUANTILES = 11
BINS = 10
LISTED = 10_000  # the bins of a feature list at most this many values
_SECONDS_A_DAY = 86_400


def profile(table: pa.Table, features: tuple[Feature, ...], seconds: Array) -> dict[str, Any]:
    """Compute the reference profile of a table.

    Args:
        table: One column per feature.
        features: The features.
        seconds: (rows,) int64, the time of each row in seconds since 1970.

    Returns:
        JSON values: `rows` (the number of rows), `day` (their mean time in days since 1970), `features` and `bins`, by
        name. Each feature has `null_share` (the share of missing values and empty lists) and one of these:

        - quantiles: 11 evenly spaced quantiles from the minimum to the maximum (numbers; ages in days; Euclidean norms
          of vectors). Absent if all values are missing.
        - top: the 20 most frequent values with their shares (categories and hashed ids; elements of lists).

        `bins` are what drift is measured on (see `bin_shares`).
    """
    return {
        "rows": table.num_rows,
        "day": mean_day(seconds),
        "features": {f.name: _feature(table[f.name], f, seconds) for f in features},
        "bins": {f.name: _bins(table[f.name], f, seconds) for f in features},
    }


def missing_share(column: pa.ChunkedArray) -> float:
    """Return the share of the rows that are null or an empty list."""
    empty = pc.sum(pc.equal(pc.list_value_length(column), 0)).as_py() if pa.types.is_list(column.type) else None
    return (column.null_count + (empty or 0)) / max(1, len(column))


def bin_shares(bins: Mapping[str, Any], column: pa.ChunkedArray, f: Feature, seconds: Array, days: float = 0) -> Array:
    """Return the share of each bin of a feature.

    Args:
        bins: The bins, from a profile. Numbers have `edges`: an edge is a bin, and so are the numbers between two
            edges. Other features have `values`, one list per bin; the last bin has all values that are not listed.
        column: (rows,) values.
        f: The feature.
        seconds: (rows,) int64, the time of each row in seconds since 1970.
        days: Subtracted from the numbers.

    Returns:
        (1 + bins,) float64: the share of missing values and empty lists, then the shares of the bins.
    """
    if "edges" in bins:
        values, edges = numbers(column, f, seconds) - days, np.array(bins["edges"], dtype=np.float64)
        place = np.searchsorted(edges, values, side="left") + np.searchsorted(edges, values, side="right")
        counts: Array = np.bincount(place, minlength=2 * len(edges) + 1)
    else:
        counted = _counted(column, f)
        group = {value: place for place, values in enumerate(bins["values"]) for value in values}
        places = [group.get(value, len(bins["values"])) for value in counted.field("values").to_pylist()]
        weights = counted.field("counts").to_numpy()
        counts = np.bincount(np.array(places, dtype=np.int64), weights, minlength=len(bins["values"]) + 1)
    missing = missing_share(column)
    return np.append(missing, counts / max(1, counts.sum()) * (1 - missing))


def _bins(column: pa.ChunkedArray, f: Feature, seconds: Array) -> dict[str, Any]:
    if f.is_discrete:
        bins: dict[str, Any] = {"values": _groups(_counted(column, f))}
    else:
        ordered = np.sort(numbers(column, f, seconds))
        bins = {
            "edges": np.unique(ordered[(np.arange(1, BINS) * len(ordered)) // BINS] if len(ordered) else []).tolist()
        }
    return bins | {"shares": bin_shares(bins, column, f, seconds).tolist()}


def _groups(counted: pa.StructArray) -> list[list[Any]]:
    """Return the values from the most to the least frequent: one per group, or groups of a tenth of the rows."""
    counts = counted.field("counts").to_numpy()
    order = np.argsort(-counts, kind="stable")
    values = counted.field("values").take(pa.array(order)).to_pylist()
    if len(values) <= TOP:
        return [[value] for value in values]
    above = (np.cumsum(counts[order]) - counts[order]) / counts.sum()
    group = np.where(np.arange(len(order)) < LISTED, (above * BINS).astype(np.int64), BINS - 1)
    return [[values[i] for i in np.flatnonzero(group == place)] for place in range(BINS - 1)]


def _counted(column: pa.ChunkedArray, f: Feature) -> pa.StructArray:
    """Count the values, or the elements of lists."""
    return (pc.list_flatten(column) if f.dtype in (Dtype.STRINGS, Dtype.INTS) else column).drop_null().value_counts()


def _feature(column: pa.ChunkedArray, f: Feature, seconds: Array) -> dict[str, Any]:
    null_share = missing_share(column)
    if f.is_discrete:
        return {"null_share": null_share, "top": _top(column, f)}
    values = numbers(column, f, seconds)
    if not len(values):
        return {"null_share": null_share}
    return {"null_share": null_share, "quantiles": np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist()}


def _top(column: pa.ChunkedArray, f: Feature) -> list[list[Any]]:
    """Return (value, share of the values that are not missing) pairs, the most frequent first."""
    counted = _counted(column, f)
    values, counts = counted.field("values"), counted.field("counts")
    total = pc.sum(counts).as_py() or 1
    best = pc.select_k_unstable(counts, k=min(TOP, len(counts)), sort_keys=[("counts", "descending")])
    return [[value.as_py(), n.as_py() / total] for value, n in zip(values.take(best), counts.take(best), strict=True)]


def mean_day(seconds: Array) -> float:
    """Return the mean of times in seconds since 1970, in days since 1970; 0 without times."""
    return float(seconds.mean() / _SECONDS_A_DAY) if len(seconds) else 0.0


def numbers(column: pa.ChunkedArray, f: Feature, seconds: Array) -> Array:
    """Convert the values of a feature to numbers. Missing values are left out.

    Args:
        column: (rows,) values.
        f: The feature.
        seconds: (rows,) int64, the time of each row in seconds since 1970.

    Returns:
        (known rows,) float64: numbers as they are, ages in days before `seconds`, hours of the day for cyclic
        timestamps, Euclidean norms of vectors.
    """
    raw = column_to_input(column, f)
    if f.dtype == Dtype.FLOATS:
        raw = np.linalg.norm(raw, axis=1)
    known = np.isfinite(raw) if raw.dtype.kind == "f" else raw != MISSING_INT
    if f.encoding == Encoding.AGE:
        return (seconds[known] - raw[known]) / _SECONDS_A_DAY
    if f.encoding == Encoding.CYCLIC:
        return raw[known] % _SECONDS_A_DAY / 3600
    return raw[known].astype(np.float64)
