"""Strict conversion of JSON values to raw Feast values: 1.5 is not an Int64, and true is not a number."""

from datetime import UTC, datetime
from typing import Any

import numpy as np

from two_tower.recommender.errors import RequestError, invalid
from two_tower.schema import Dtype, Feature

_FLOAT_MAX = float(np.finfo(np.float32).max)
_LATEST = 253_402_300_799  # the last second of the year 9999
ELEMENTS = {Dtype.STRINGS: Dtype.STRING, Dtype.INTS: Dtype.INT64, Dtype.FLOATS: Dtype.FLOAT32}
_TAKES = {
    Dtype.STRING: "a string",
    Dtype.INT64: "a whole number of 64 bits",
    Dtype.FLOAT32: "a number within the range of float32",
    Dtype.FLOAT64: "a number within the range of float32",
    Dtype.BOOL: "true or false",
    Dtype.TIMESTAMP: "an ISO 8601 time (UTC if it names no time zone), or whole seconds since 1970",
}


def key_value(name: str, value: Any, dtype: Dtype) -> str | int:
    """Check a join key. An integer may be a string of digits, as in a form or a URL. Raises RequestError 422."""
    if dtype == Dtype.INT64 and isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 20:
        value = int(value)
    return scalar_value(name, value, dtype)


def feature_value(feature: Feature, value: Any) -> Any:
    """Convert a feature's value to that of the online store. Raises RequestError 422 that names the feature."""
    name = f"feature {feature.name!r}"
    if value is None:
        return None
    if feature.dtype not in ELEMENTS:
        return scalar_value(name, value, feature.dtype)
    element = ELEMENTS[feature.dtype]
    if not isinstance(value, list):
        raise _wrong(name, value, f"a list, each element {_TAKES[element]}")
    nullable = feature.dtype != Dtype.FLOATS  # a bag or a history may hold nulls, a vector may not
    return [scalar_value(f"an element of {name}", one, element) for one in value if not (nullable and one is None)]


def scalar_value(name: str, value: Any, dtype: Dtype) -> Any:
    """Convert a scalar. Raises RequestError 422 that calls the value `name`."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match dtype:
        case Dtype.STRING if isinstance(value, str):
            return value
        case Dtype.BOOL if isinstance(value, bool):
            return value
        case Dtype.INT64 if number and isinstance(value, int) and -(2**63) <= value < 2**63:
            return value
        case Dtype.FLOAT32 | Dtype.FLOAT64 if number and abs(value) <= _FLOAT_MAX:
            return float(value)
        case Dtype.TIMESTAMP if (moment := _moment(value)) is not None:
            return moment
    raise _wrong(name, value, _TAKES[dtype])


def _moment(value: Any) -> datetime | None:
    """A time in UTC, from a datetime, ISO 8601 text or seconds; None if it is not between the years 1 and 9999."""
    try:
        if isinstance(value, str | datetime):
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if type(value) is int and 0 <= value <= _LATEST:
            return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError):
        pass
    return None


def _wrong(name: str, value: Any, takes: str) -> RequestError:
    return invalid(f"{name} is {value!r:.60}.", f"It takes {takes}.")
