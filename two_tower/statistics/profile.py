"""The reference profile: the distribution of each feature in the training data, for later drift checks."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.inputs import Array, column_to_input
from two_tower.schema import MISSING_INT, Dtype, Encoding, Feature

TOP = 20
QUANTILES = 11
_SECONDS_A_DAY = 86_400


def profile(table: pa.Table, features: tuple[Feature, ...], seconds: Array) -> dict[str, Any]:
    """Compute the reference profile of a table.

    Args:
        table: One column per feature.
        features: The features.
        seconds: (rows,) int64, the time of each row in seconds since 1970.

    Returns:
        JSON values: `rows` (the number of rows) and `features`, by name. Each feature has `null_share` (the share of
        missing values) and one of these:

        - quantiles: 11 evenly spaced quantiles from the minimum to the maximum (numbers; ages in days; Euclidean norms
          of vectors). Absent if all values are missing.
        - top: the 20 most frequent values with their shares (categories and hashed ids; elements of lists).
    """
    return {"rows": table.num_rows, "features": {f.name: _feature(table[f.name], f, seconds) for f in features}}


def _feature(column: pa.ChunkedArray, f: Feature, seconds: Array) -> dict[str, Any]:
    null_share = column.null_count / max(1, len(column))
    if f.is_discrete:
        return {"null_share": null_share, "top": _top(column, f)}
    values = numbers(column, f, seconds)
    if not len(values):
        return {"null_share": null_share}
    return {"null_share": null_share, "quantiles": np.quantile(values, np.linspace(0, 1, QUANTILES)).tolist()}


def _top(column: pa.ChunkedArray, f: Feature) -> list[list[Any]]:
    """Return (value, share of the values that are not missing) pairs, the most frequent first."""
    flat = pc.list_flatten(column) if f.dtype in (Dtype.STRINGS, Dtype.INTS) else column
    counted = flat.drop_null().value_counts()
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
