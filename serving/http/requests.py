"""JSON bodies of requests, checked against the release that answers them."""

from typing import Any, NamedTuple

import orjson

from two_tower.recommender.errors import invalid, malformed
from two_tower.recommender.requests import (
    DEFAULT_K,
    RecommendRequest,
    SimilarRequest,
    feature_values,
    flag,
    recommend_request,
    refuse_unknown,
    similar_request,
)
from two_tower.recommender.values import key_value
from two_tower.schema import Contract

MAX_ITEMS = 1000  # items of one upsert
RECOMMEND_FIELDS = ("user_id", "k", "exclude_seen", "filter", "features", "explain", "timings")
SIMILAR_FIELDS = ("item_id", "k", "filter")


class RecommendBody(NamedTuple):
    """The body of POST /v1/recommend. explain, timings: whether the response has reasons and seconds."""

    request: RecommendRequest
    explain: bool
    timings: bool


def parse(body: bytes) -> dict[str, Any]:
    """Parse a body that holds a JSON object. Raises RequestError 400 if it is not JSON, 422 if it is not an object."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        reason = str(error)[:200]
        raise malformed(f"The body is not JSON in UTF-8: {reason}.", 'Send e.g. {"user_id": "u1"}.') from error
    if not isinstance(value, dict):
        raise invalid(f"The body is a JSON {type(value).__name__}.", 'Send an object, e.g. {"user_id": "u1"}.')
    return value


def read_recommend(body: dict[str, Any], contract: Contract, size: int) -> RecommendBody:
    """Check a request for a user's items.

    Args:
        body: the JSON object.
        contract: feature contract of the release.
        size: number of items that can be recommended.

    Raises:
        RequestError: 422; the message names the field.
    """
    refuse_unknown("field", body, RECOMMEND_FIELDS)
    request = recommend_request(
        contract,
        size,
        user_id=body.get("user_id"),
        features=body.get("features"),
        k=body.get("k", DEFAULT_K),
        exclude_seen=body.get("exclude_seen", True),
        filters=body.get("filter"),
    )
    return RecommendBody(
        request, flag("explain", body.get("explain", False)), flag("timings", body.get("timings", False))
    )


def read_similar(body: dict[str, Any], contract: Contract, size: int) -> SimilarRequest:
    """Check a request for the items nearest to one item. Raises RequestError 422; the message names the field."""
    refuse_unknown("field", body, SIMILAR_FIELDS)
    return similar_request(
        contract, size, item_id=body.get("item_id"), k=body.get("k", DEFAULT_K), filters=body.get("filter")
    )


def read_items(body: dict[str, Any], contract: Contract) -> dict[str | int, dict[str, Any]]:
    """Read the items to upsert as raw features by item id; the last one of an item that is listed twice counts.

    Raises:
        RequestError: 422; the message names the field.
    """
    refuse_unknown("field", body, ("items",))
    items = body.get("items")
    if not isinstance(items, list) or not 1 <= len(items) <= MAX_ITEMS:
        raise invalid(f"items is {items!r:.60}.", f"It must be a list of 1 to {MAX_ITEMS} items.")
    return dict(_item(item, contract) for item in items)


def read_item_id(text: str, contract: Contract) -> str | int:
    """Read the id of an item in a path. Raises RequestError 422 if it is not of the key's type."""
    return key_value("item_id", text, contract.item_key_dtype)


def _item(item: Any, contract: Contract) -> tuple[str | int, dict[str, Any]]:
    if not isinstance(item, dict):
        raise invalid(f"An item is {item!r:.60}.", 'It must be an object, e.g. {"item_id": "i1", "features": {…}}.')
    refuse_unknown("field of an item", item, ("item_id", "features"))
    item_id = key_value("item_id", item.get("item_id"), contract.item_key_dtype)
    return item_id, feature_values(item.get("features"), contract.item)
