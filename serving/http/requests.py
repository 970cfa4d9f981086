"""A request's body, checked against the release that answers it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from two_tower.errors import unknown
from two_tower.recommender import filters
from two_tower.recommender.errors import invalid, malformed
from two_tower.recommender.filters import Filter
from two_tower.recommender.values import feature_value, key_value
from two_tower.schema import Contract, Feature

MAX_K = 1000
MAX_ITEMS = 1000  # of one upsert
FIELDS = ("user_id", "k", "exclude_seen", "filter", "features", "explain", "timings")
SIMILAR_FIELDS = ("item_id", "k", "filter")


@dataclass(frozen=True, slots=True)
class Ask:
    """What to recommend. features: raw values by feature name, which stand in for the store's row."""

    user_id: str | int | None
    k: int
    exclude_seen: bool = True
    features: dict[str, Any] | None = None
    wanted: Filter = ()
    explain: bool = False
    timings: bool = False


@dataclass(frozen=True, slots=True)
class AskSimilar:
    """Which item's neighbours to find."""

    item_id: str | int
    k: int
    wanted: Filter = ()


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds. Raises RequestError 400 for no JSON, 422 for JSON that is no object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = str(error)[:200]
        raise malformed(f"The body is not JSON in UTF-8: {reason}.", 'Send e.g. {"user_id": "u1"}.') from error
    if not isinstance(value, dict):
        raise invalid(f"The body is a JSON {type(value).__name__}.", 'Send an object, e.g. {"user_id": "u1"}.')
    return value


def read(body: dict[str, Any], contract: Contract, size: int) -> Ask:
    """A checked question for a user. size: how many items there are. Raises RequestError 422, naming the field."""
    _known("field", body, FIELDS)
    user_id, features = body.get("user_id"), body.get("features")
    if user_id is None and features is None:
        raise invalid("Neither user_id nor features is given.", "Give the id of a user, or a user's raw features.")
    if user_id is not None:
        user_id = key_value("user_id", user_id, contract.user_key_dtype)
    if features is not None:
        features = _features(features, (*contract.user, *([contract.seen] if contract.seen else [])))
    return Ask(
        user_id,
        _k(body.get("k", 10), size),
        _flag("exclude_seen", body.get("exclude_seen", True)),
        features,
        _filter(body, contract),
        _flag("explain", body.get("explain", False)),
        _flag("timings", body.get("timings", False)),
    )


def read_similar(body: dict[str, Any], contract: Contract, size: int) -> AskSimilar:
    """A checked question for the items nearest to one."""
    _known("field", body, SIMILAR_FIELDS)
    item_id = key_value("item_id", body.get("item_id"), contract.item_key_dtype)
    return AskSimilar(item_id, _k(body.get("k", 10), size), _filter(body, contract))


def read_items(body: dict[str, Any], contract: Contract) -> dict[str | int, dict[str, Any]]:
    """The raw features of the items to upsert, by id; of an item given twice, the last."""
    _known("field", body, ("items",))
    items = body.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise invalid(f"items is {items!r:.60}.", f"It is a list of 1 to {MAX_ITEMS} items.")
    return dict(_item(item, contract) for item in items)


def _item(item: Any, contract: Contract) -> tuple[str | int, dict[str, Any]]:
    if not isinstance(item, dict):
        raise invalid(f"An item is {item!r:.60}.", 'It is an object, e.g. {"item_id": "i1", "features": {…}}.')
    _known("field of an item", item, ("item_id", "features"))
    item_id = key_value("item_id", item.get("item_id"), contract.item_key_dtype)
    return item_id, _features(item.get("features"), contract.item)


def _k(k: Any, size: int) -> int:
    most = min(MAX_K, size)
    if type(k) is not int or not 1 <= k <= most:
        raise invalid(f"k is {k!r:.60}.", f"It is a whole number of 1 to {most}; the catalogue has {size} items.")
    return k


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise invalid(f"{name} is {value!r:.60}.", "It is true or false.")
    return value


def _filter(body: dict[str, Any], contract: Contract) -> Filter:
    value = body.get("filter")
    return () if value is None else filters.parse(value, contract)


def _features(features: Any, declared: Iterable[Feature]) -> dict[str, Any]:
    if not isinstance(features, dict):
        raise invalid(f"features is {features!r:.60}.", "It is an object of raw feature values by feature name.")
    known = {f.name: f for f in declared}
    _known("feature", features, known)
    return {name: feature_value(known[name], value) for name, value in features.items()}


def _known(what: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    for name in given:
        if name not in allowed:
            raise invalid(str(unknown(what, name[:100], allowed)), f"Leave {name[:100]!r} out, or mend its name.")
