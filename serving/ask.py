"""A request's body, checked against the contract of the release that answers it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from serving.errors import invalid, malformed
from serving.values import feature_value, key_value
from two_tower.errors import unknown
from two_tower.schema import Contract

MAX_K = 1000
FIELDS = ("user_id", "k", "exclude_seen", "features")


@dataclass(frozen=True, slots=True)
class Ask:
    """What to recommend. features: raw values by feature name, which stand in for the store's row."""

    user_id: str | int | None
    k: int
    exclude_seen: bool
    features: dict[str, Any] | None


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a body holds. Raises RequestError 400 for no JSON, 422 for JSON that is no object."""
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\u" in body:  # an escaped half of a surrogate pair is JSON, but no text
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise malformed(f"The body is not JSON in UTF-8: {reason[:200]}.", 'Send e.g. {"user_id": "u1"}.') from error
    if not isinstance(value, dict):
        raise invalid(f"The body is a JSON {type(value).__name__}.", 'Send an object, e.g. {"user_id": "u1"}.')
    return value


def read(body: dict[str, Any], contract: Contract, catalogue: int) -> Ask:
    """The checked request. catalogue: how many items there are. Raises RequestError 422, naming the field."""
    _known("field", body, FIELDS)
    user_id, features = body.get("user_id"), body.get("features")
    if user_id is None and features is None:
        raise invalid("Neither user_id nor features is given.", "Give the id of a user, or a user's raw features.")
    if user_id is not None:
        user_id = key_value("user_id", user_id, contract.user_key_dtype)
    exclude_seen = body.get("exclude_seen", True)
    if not isinstance(exclude_seen, bool):
        raise invalid(f"exclude_seen is {exclude_seen!r:.60}.", "It is true or false.")
    return Ask(user_id, _k(body.get("k", 10), catalogue), exclude_seen, _features(features, contract))


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _k(k: Any, catalogue: int) -> int:
    most = min(MAX_K, catalogue)
    if type(k) is not int or not 1 <= k <= most:
        raise invalid(f"k is {k!r:.60}.", f"It is a whole number of 1 to {most}; the catalogue has {catalogue} items.")
    return k


def _features(features: Any, contract: Contract) -> dict[str, Any] | None:
    if features is None:
        return None
    if not isinstance(features, dict):
        raise invalid(f"features is {features!r:.60}.", "It is an object of raw feature values by feature name.")
    known = {f.name: f for f in (*contract.user, *([contract.seen] if contract.seen else []))}
    _known("feature", features, known)
    return {name: feature_value(known[name], value) for name, value in features.items()}


def _known(what: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    names = set(allowed)
    for name in given:
        if name not in names:
            raise invalid(str(unknown(what, name[:100], names)), f"Leave {name[:100]!r} out, or mend its name.")
