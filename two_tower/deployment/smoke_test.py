"""Real questions to a service before it gets all of the traffic, and what is wrong with its answers."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from two_tower.data.catalogue import USERS
from two_tower.data.pulled import Pulled
from two_tower.http_json import Response, call
from two_tower.inputs import Array

K = 10
MOST_UNKNOWN = 0.5  # share of the users that the online store may not know
PATIENCE = 5.0  # seconds that one question may take
SILENT = 5  # questions without any answer, after which no more are asked


def of_pulled(pulled: Pulled, count: int = USERS) -> list[dict[str, Any]]:
    """Requests for the `count` users seen last: each asked for by id, and with the features that he had then."""
    key = pulled.contract.user_key
    rows = _newest_rows(pulled.interactions[key], count)
    users = pulled.interactions[key].take(pa.array(rows)).to_pylist()
    features = pulled.user.take(pa.array(rows)).to_pylist()
    return [
        question
        for user, row in zip(users, features, strict=True)
        for question in ({"user_id": user, "k": K}, {"user_id": user, "k": K, "features": as_json(row)})
    ]


def by_id(users: Sequence[str | int]) -> list[dict[str, Any]]:
    """Requests for users of whom only the ids are at hand."""
    return [{"user_id": user, "k": K} for user in users]


def write(questions: Sequence[Mapping[str, Any]], path: Path) -> None:
    path.write_text(json.dumps(questions, allow_nan=False))


def read(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_text()))


def replay(
    address: str, questions: Sequence[Mapping[str, Any]], release: str, slowest_ms: float
) -> tuple[list[str], dict[str, Any]]:
    """Ask a service. Returns why it must not serve, a sentence each, and what was measured.

    Every question has to be answered: by `release`, with K different items in order of score; one with features by the
    towers. 95 % of the answers have to take at most `slowest_ms`. A user asked for by id may be unknown to the online
    store, yet not most of them, and the store itself must not fail.
    """
    wrong: Counter[str] = Counter()
    unknown, by_store, silent = 0, 0, 0
    took: list[float] = []
    for question in questions:
        try:
            reply = call("POST", f"{address}/v1/recommend", question, timeout=PATIENCE)
        except OSError as error:
            wrong[f"no answer from {address}: {error}"] += 1
            silent += 1
            if silent == SILENT:
                break
            continue
        took.append(1000 * reply.seconds)
        if fault := _fault(question, reply, release):
            wrong[fault] += 1
        elif "features" not in question:
            by_store += 1
            unknown += reply.body["fallback"] == "popular"
    reasons = [f"{count} of {len(questions)} questions: {what}." for what, count in wrong.most_common(3)]
    slow = _slowest(took)
    if took and slow > slowest_ms:
        reasons.append(f"95 % of the answers took up to {slow:.1f} ms; {slowest_ms:g} ms are allowed.")
    if by_store and unknown > MOST_UNKNOWN * by_store:
        reasons.append(
            f"the online store knows {by_store - unknown} of {by_store} users that it was asked for. Materialise the "
            "features into the store that the service reads."
        )
    return reasons, {"questions": len(questions), "failed": wrong.total(), "unknown_users": unknown, "p95_ms": slow}


def _fault(question: Mapping[str, Any], reply: Response, release: str) -> str:
    """What is wrong with an answer, empty if nothing is."""
    if reply.status != 200 or not isinstance(reply.body, dict):
        return f"HTTP {reply.status}: {str(reply.body)[:200]}"
    answer = reply.body
    if answer.get("release") != release:
        return f"answered by release {answer.get('release')}"
    if answer.get("fallback") == "store":
        return "the online store failed"
    if "features" in question and answer.get("fallback"):
        return f"answered by fallback {answer['fallback']!r} although features were given"
    items = answer.get("items", [])
    scores = [item["score"] for item in items]
    if len({item["item_id"] for item in items}) != question["k"]:
        return f"{len(items)} items instead of {question['k']} different ones"
    if not all(map(math.isfinite, scores)) or scores != sorted(scores, reverse=True):
        return "scores that are no numbers in descending order"
    return ""


def _slowest(took: list[float]) -> float:
    """The 95th percentile, ms; 0 where nothing was answered."""
    return sorted(took)[math.ceil(0.95 * len(took)) - 1] if took else 0.0


def _newest_rows(users: pa.ChunkedArray, count: int) -> list[int]:
    """The last row of each of the `count` users seen last; rows are ascending in time."""
    codes: Array = users.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    last = {code: row for row, code in enumerate(codes.tolist())}
    return sorted(last.values(), reverse=True)[:count]


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """Raw feature values as a request carries them; a missing one is left out."""
    said = {name: _value(value) for name, value in row.items()}
    return {name: value for name, value in said.items() if value is not None}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        elements = [_value(element) for element in value]
        return (
            None if any(isinstance(v, float) and e is None for v, e in zip(value, elements, strict=True)) else elements
        )
    return value
