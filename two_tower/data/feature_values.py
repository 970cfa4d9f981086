"""Whether a feature value of the online store is that of the offline store."""

import math
from datetime import UTC, datetime
from typing import Any

import numpy as np

CLOSE = 1e-6  # relative tolerance of floats: online stores and Feast convert between float32 and float64


def is_missing(value: Any) -> bool:
    """Return whether a value is missing: None, NaN or an empty list."""
    if isinstance(value, list | tuple | np.ndarray):
        return len(value) == 0
    return value is None or (isinstance(value, float) and math.isnan(value))


def same_value(a: Any, b: Any) -> bool:
    """Return whether two raw values are equal.

    Missing values are equal to each other. Whole numbers are compared exactly, because they may be ids. Times may
    differ by less than a second, because online stores keep whole seconds.
    """
    if is_missing(a) or is_missing(b):
        return is_missing(a) and is_missing(b)
    if isinstance(a, list | tuple | np.ndarray) and isinstance(b, list | tuple | np.ndarray):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, datetime) and isinstance(b, datetime):
        return abs((_utc(a) - _utc(b)).total_seconds()) < 1
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=CLOSE, abs_tol=1e-30)
    return bool(a == b)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
