"""Comparison of the features in the online store with those in the offline store, value by value."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from two_tower.data.feature_values import is_missing, same_value
from two_tower.schema import Contract, Dtype

MOST_REASONS = 3
SHORT = 5  # elements of a list that a reason shows in full
_LISTS = {Dtype.STRINGS: Dtype.STRING, Dtype.INTS: Dtype.INT64, Dtype.FLOATS: Dtype.FLOAT32}
_FLOATS = (Dtype.FLOAT32, Dtype.FLOAT64)
_TYPES: dict[Dtype, tuple[type, ...]] = {
    Dtype.STRING: (str,),
    Dtype.INT64: (int, np.integer),
    Dtype.BOOL: (bool, np.bool_),
    Dtype.FLOAT32: (float, int, np.floating, np.integer),
    Dtype.FLOAT64: (float, int, np.floating, np.integer),
    Dtype.TIMESTAMP: (datetime,),
}

_NO_ROW = "It was not materialised, or the service reads another store."
_NO_VALUE = (
    "It was not materialised, the view is not online, its row is older than the view's ttl, or the service reads "
    "another store."
)
_NO_OFFLINE = "The online row is later than the data of the run or older than the view's ttl, or of another store."
_TYPE = "The online store has another type: define the field with the type of its data, and materialise again."
_ORDER = "The elements are the same in another order."
_VALUE = "The online row is of another time than the newest offline row, or of another store: materialise again."

Row = Mapping[str, Any]


def compare(
    users: Sequence[str | int],
    offline: Sequence[Row],
    online: Sequence[Row | None],
    contract: Contract,
    views: Mapping[str, str],
) -> tuple[int, list[str]]:
    """Compare the features of users: types, values, the order of lists, missing values.

    NaN and an empty list are missing values. Floats may differ by float32's precision, times by less than a second,
    because online stores keep whole seconds.

    Args:
        users: User keys.
        offline: Features of each user that training would read.
        online: Features of each user in the online store, None for a user that it does not know.
        contract: Feature contract of the release.
        views: Feature view of each feature.

    Returns:
        The number of users with a difference, and a sentence for each of the most frequent differences.
    """
    features = {f.name: f.dtype for f in (*contract.user, *([contract.seen] if contract.seen else []))}
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], tuple[Any, Any, Any]] = {}
    differing = 0
    for user, true, row in zip(users, offline, online, strict=True):
        differences = list(_differences(true, row, features))
        differing += bool(differences)
        for name, cause in differences:
            counts[name, cause] += 1
            examples.setdefault((name, cause), (user, true.get(name), (row or {}).get(name)))
    reasons = []
    for (name, cause), count in counts.most_common(MOST_REASONS):
        user, true_value, value = examples[name, cause]
        place, true_value, value = _first_difference(true_value, value)
        reasons.append(
            f"feature {name!r} of feature view {views.get(name, 'unknown')!r} differs online for {count} of "
            f"{len(users)} users. User {user!r}{place}: online {_shown(value)}, offline {_shown(true_value)}. {cause}"
        )
    return differing, reasons


def _differences(offline: Row, online: Row | None, features: Mapping[str, Dtype]) -> Iterator[tuple[str, str]]:
    """Names of the features that differ, with the likely cause; of an unknown user only the first."""
    for name, dtype in features.items():
        cause = _cause(offline.get(name), (online or {}).get(name), dtype)
        if cause and online is None:
            yield name, _NO_ROW
            return
        if cause:
            yield name, cause


def _cause(offline: Any, online: Any, dtype: Dtype) -> str:
    """The likely cause of a difference; empty if the values are equal."""
    if is_missing(offline) or is_missing(online):
        if is_missing(offline) and is_missing(online):
            return ""
        return _NO_OFFLINE if is_missing(offline) else _NO_VALUE
    if dtype in _LISTS:
        if not isinstance(online, list | tuple | np.ndarray):
            return _TYPE
        return _cause_in_list(list(offline), list(online), _LISTS[dtype])
    if not _typed(online, dtype):
        return _TYPE
    return "" if _equal(offline, online, dtype) else _VALUE


def _cause_in_list(offline: list[Any], online: list[Any], dtype: Dtype) -> str:
    if not all(value is None or _typed(value, dtype) for value in online):
        return _TYPE
    if len(offline) == len(online) and all(_equal(a, b, dtype) for a, b in zip(offline, online, strict=True)):
        return ""
    same = len(offline) == len(online) and sorted(map(repr, offline)) == sorted(map(repr, online))
    return _ORDER if same else _VALUE


def _typed(value: Any, dtype: Dtype) -> bool:
    return isinstance(value, _TYPES[dtype]) and (dtype == Dtype.BOOL) == isinstance(value, bool | np.bool_)


def _equal(offline: Any, online: Any, dtype: Dtype) -> bool:
    if dtype in _FLOATS and not is_missing(offline) and not is_missing(online):
        return same_value(float(offline), float(online))  # a store may return a whole number for a float
    return same_value(offline, online)


def _first_difference(offline: Any, online: Any) -> tuple[str, Any, Any]:
    """The place where two long lists begin to differ, and their elements there; other values as they are."""
    if not (isinstance(offline, list) and isinstance(online, list) and len(offline) > SHORT):
        return "", offline, online
    place = next((i for i, pair in enumerate(zip(offline, online, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return " (numbers of elements)", len(offline), len(online)
    return f" (element {place})", offline[place], online[place]


def _shown(value: Any) -> str:
    if is_missing(value):
        return "nothing"
    text = value.isoformat() if isinstance(value, datetime) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
