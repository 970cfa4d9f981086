"""Requests to a recommender, checked against the release that answers them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from two_tower.errors import unknown
from two_tower.recommender import filters as item_filters
from two_tower.recommender.errors import invalid
from two_tower.recommender.filters import Filter
from two_tower.recommender.values import feature_value, key_value
from two_tower.schema import Contract, Feature

MAX_K = 1000
DEFAULT_K = 10


class RecommendRequest(NamedTuple):
    """A request for one user's items.

    user_id: None if only features are given. features: raw values by feature name, missing ones may be absent; None
    until they are read from the online store. k: number of items, 1 to the number that can be recommended. exclude:
    item ids that must not be returned. from_store: whether the features were read from the online store.
    """

    user_id: str | int | None = None
    features: Mapping[str, Any] | None = None
    k: int = DEFAULT_K
    exclude_seen: bool = True
    filters: Filter = ()
    exclude: frozenset[str | int] = frozenset()
    from_store: bool = False


class SimilarRequest(NamedTuple):
    """A request for the items nearest to one item."""

    item_id: str | int
    k: int = DEFAULT_K
    filters: Filter = ()


def recommend_request(
    contract: Contract,
    size: int,
    *,
    user_id: Any = None,
    features: Any = None,
    k: Any = DEFAULT_K,
    exclude_seen: Any = True,
    filters: Any = None,
    exclude: Iterable[Any] = (),
) -> RecommendRequest:
    """Check a request for one user's items.

    Args:
        contract: feature contract of the release.
        size: number of items that can be recommended.
        user_id: user key; a string of digits is accepted for an integer key.
        features: dictionary of raw user features. They replace the row of the online store.
        k: number of items.
        exclude_seen: whether to leave out the items that the user's features list as seen.
        filters: dictionary of conditions by item column (see `filters.parse`), or None.
        exclude: ids of items to leave out.

    Raises:
        RequestError: 422 if a value has the wrong type or is out of range; the message names the field.
    """
    if user_id is None and features is None:
        raise invalid("Neither user_id nor features is given.", "Pass the id of a user, or a user's raw features.")
    if user_id is not None:
        user_id = key_value("user_id", user_id, contract.user_key_dtype)
    if features is not None:
        declared = (*contract.user, contract.seen) if contract.seen else contract.user
        features = feature_values(features, declared)
    return RecommendRequest(
        user_id,
        features,
        _checked_k(k, size),
        flag("exclude_seen", exclude_seen),
        _checked_filters(filters, contract),
        frozenset(key_value("exclude", item, contract.item_key_dtype) for item in exclude),
    )


def similar_request(
    contract: Contract, size: int, *, item_id: Any, k: Any = DEFAULT_K, filters: Any = None
) -> SimilarRequest:
    """Check a request for the items nearest to one item. Arguments and errors are those of `recommend_request`."""
    item_id = key_value("item_id", item_id, contract.item_key_dtype)
    return SimilarRequest(item_id, _checked_k(k, size), _checked_filters(filters, contract))


def feature_values(features: Any, declared: Iterable[Feature]) -> dict[str, Any]:
    """Check a dictionary of raw feature values against the features that the contract declares.

    Raises:
        RequestError: 422 if it is not a dictionary, names an unknown feature, or holds a value of the wrong type.
    """
    if not isinstance(features, dict):
        raise invalid(f"features is {features!r:.60}.", "It must be an object of raw feature values by feature name.")
    by_name = {f.name: f for f in declared}
    refuse_unknown("feature", features, by_name)
    return {name: feature_value(by_name[name], value) for name, value in features.items()}


def flag(name: str, value: Any) -> bool:
    """Check that a value is true or false. Raises RequestError 422."""
    if not isinstance(value, bool):
        raise invalid(f"{name} is {value!r:.60}.", "It must be true or false.")
    return value


def refuse_unknown(kind: str, names: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise RequestError 422 for the first name that is not allowed, with the nearest allowed name."""
    for name in names:
        if name not in allowed:
            text = str(name)[:100]
            raise invalid(str(unknown(kind, text, allowed)), f"Remove {text!r}, or correct its name.")


def plain(value: Any) -> Any:
    """Convert values of numpy and pandas to plain Python: arrays and tuples to lists, NaN and NaT to None."""
    if isinstance(value, Mapping):
        return {name: plain(element) for name, element in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(element) for element in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if value != value else value  # NaN and NaT differ from themselves


def _checked_k(k: Any, size: int) -> int:
    most = min(MAX_K, size)
    if type(k) is not int or not 1 <= k <= most:
        raise invalid(f"k is {k!r:.60}.", f"It must be a whole number of 1 to {most}; the catalogue has {size} items.")
    return k


def _checked_filters(filters: Any, contract: Contract) -> Filter:
    return () if filters is None else item_filters.parse(filters, contract)
