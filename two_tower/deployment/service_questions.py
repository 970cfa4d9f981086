"""Questions to the service, and the judgement of its answers."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.deployment.exact_ranking import ExactRanking
from two_tower.inputs import Array
from two_tower.schema import Contract, Dtype, Encoding

K = 10  # items of a request
FEW = 5  # users of the kinds of questions that do not need all users
NEW_TEXT = "two-tower-smoke-test"  # id of a user or an item that does not exist

BY_ID, BY_FEATURES, WITH_SEEN, FILTER = (
    "items by user id",
    "items by features",
    "items with seen ones",
    "filtered items",
)
NO_USER, IDS, OVER_GRPC, UPSERT = "unknown user", "text and integer ids", "items over gRPC", "upserted item"

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A request for items, and what the right response depends on.

    Attributes:
        kind: Kind of the question.
        body: Body of POST /v1/recommend.
        row: Features of the user; None if the service does not know them, so that it returns popular items.
        condition: Column and value of the filter of the body; None without a filter.
        refused: Whether the right response is HTTP 422.
    """

    kind: str
    body: Mapping[str, Any]
    row: Row | None
    condition: tuple[str, Any] | None = None
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A response.

    Attributes:
        status: HTTP status.
        body: JSON value.
        sent: Time of the request, seconds since 1970.
        received: Time of the response. The service embeds ages as of a time between the two.
    """

    status: int
    body: Any
    sent: float
    received: float


def about_users(
    users: Sequence[str | int],
    rows: Sequence[Row | None],
    features: Sequence[Row | None],
    contract: Contract,
    ranking: ExactRanking,
) -> Iterator[Question]:
    """Yield the questions about users.

    Args:
        users: User keys.
        rows: Features of each user in the online store; None for a user that it does not know.
        features: Features of each user to send with a request; None sends no request.
        contract: Feature contract of the release.
        ranking: The items of the release.
    """
    k = min(K, ranking.size)
    known = [(user, row) for user, row in zip(users, rows, strict=True) if row is not None]
    for user, row in zip(users, rows, strict=True):
        yield Question(kind=BY_ID, body={"user_id": user, "k": k}, row=row)
    declared = [*contract.user, *([contract.seen] if contract.seen else [])]
    for user, row in zip(users, features, strict=True):
        if row is not None:
            sent = as_json({f.name: row.get(f.name) for f in declared})
            body = {"user_id": user, "k": k, "features": sent}
            yield Question(kind=BY_FEATURES, body=body, row={name: row[name] for name in sent})
    for user, row in known[:FEW]:
        yield Question(kind=WITH_SEEN, body={"user_id": user, "k": k, "exclude_seen": False}, row=row)
    name, value = _condition(ranking.table, contract)
    for user, row in known[:FEW]:
        body = {"user_id": user, "k": k, "filter": {name: value}}
        yield Question(kind=FILTER, body=body, row=row, condition=(name, value))
    is_text = contract.user_key_dtype == Dtype.STRING
    new = NEW_TEXT if is_text else _new_number([user for user in users if isinstance(user, int)])
    yield Question(kind=NO_USER, body={"user_id": new, "k": k}, row=None)
    for user, row in known[:FEW]:
        other = {"user_id": 1 if is_text else str(user), "k": k}
        yield Question(kind=IDS, body=other, row=row, refused=is_text)


def new_item(ranking: ExactRanking, contract: Contract) -> tuple[str | int, dict[str, Any]]:
    """Return the id of an item that does not exist, and the features of the most popular item for it."""
    popular = ranking.popular_place
    names = [f.name for f in contract.item if f.name != contract.item_key]
    numbers = [item for item in ranking.ids if isinstance(item, int)]
    item = NEW_TEXT if contract.item_key_dtype == Dtype.STRING else _new_number(numbers)
    return item, ranking.table.select(names).slice(popular, 1).to_pylist()[0] if names else {}


def faults(
    questions: Sequence[Question],
    answers: Sequence[Answer],
    contract: Contract,
    ranking: ExactRanking,
    release_id: str,
    side: frozenset[Any],
) -> list[str]:
    """Return a sentence per question, empty if the answer is right.

    Args:
        questions: The questions.
        answers: The answer to each question.
        contract: Feature contract of the release.
        ranking: The items of the release.
        release_id: Id of the release that has to answer.
        side: Ids of items that users have upserted, which may be in any answer.
    """
    towers = [i for i, one in enumerate(questions) if one.row is not None and not one.refused]
    rows = [questions[i].row or {} for i in towers]
    first, last = (ranking.users(rows, [getattr(answers[i], at) for i in towers]) for at in ("sent", "received"))
    user_of = {i: np.stack(pair) for i, pair in zip(towers, zip(first, last, strict=True), strict=True)}
    ranking.include({i["item_id"] for one in answers if isinstance(one.body, dict) for i in one.body.get("items", ())})
    history = [f.name for f in contract.user if f.encoding == Encoding.HISTORY]
    seen = [*history, *([contract.seen.name] if contract.seen else [])]
    return [
        _fault(question, answer, user_of.get(i), seen, ranking, release_id, side)
        for i, (question, answer) in enumerate(zip(questions, answers, strict=True))
    ]


def _fault(
    question: Question,
    answer: Answer,
    user: Array | None,
    seen: Sequence[str],
    ranking: ExactRanking,
    release_id: str,
    side: frozenset[Any],
) -> str:
    """Describe the first fault of an answer; empty if it has none."""
    asker = f"user {question.body['user_id']!r}"
    if question.refused:
        return "" if answer.status == 422 else f"{asker}: HTTP {answer.status} instead of 422 for an id of another type"
    if answer.status != 200 or not isinstance(answer.body, dict):
        return f"{asker}: HTTP {answer.status}: {str(answer.body)[:200]}"
    body = answer.body
    if body.get("release") != release_id:
        return f"{asker}: answered by release {body.get('release')}"
    if body.get("fallback") == "store":
        return f"{asker}: the online store failed, or its row has a value that the tower does not take"
    expected = None if question.row is not None else "popular"
    if body.get("fallback") != expected:
        store = "The service reads another online store than its feature_store.yaml names"
        return f"{asker}: fallback {body.get('fallback')} instead of {expected}. {store}"
    listed = [(item["item_id"], item["score"]) for item in body.get("items", ())]
    items = [one for one in listed if one[0] not in side]
    k = question.body["k"] - (len(listed) - len(items))
    allowed = None
    if question.condition:
        name, value = question.condition
        allowed = pc.equal(ranking.table[name], value).fill_null(False).to_numpy(zero_copy_only=False)
    if user is None:
        fault = ranking.popular_fault(items, k, set(side), allowed)
    else:
        names = seen if question.body.get("exclude_seen", True) else ()
        hidden = {item for name in names for item in (question.row or {}).get(name) or ()}
        fault = ranking.fault(items, k, user, hidden | side, allowed)
    return f"{asker}: {fault}" if fault else ""


def _condition(items: pa.Table, contract: Contract) -> tuple[str, Any]:
    """A column of the items and one of its values; the item key if no other column has whole numbers or text."""
    scalars = [f.name for f in contract.item if f.dtype in (Dtype.STRING, Dtype.INT64, Dtype.BOOL)]
    names = [name for name in scalars if name != contract.item_key and items[name].null_count < items.num_rows]
    name = names[0] if names else contract.item_key
    values = items[name].drop_null()
    return name, values[len(values) // 2].as_py()


def _new_number(numbers: Sequence[int]) -> int:
    """The largest int64 that is not among the numbers."""
    taken, number = set(numbers), np.iinfo(np.int64).max
    while int(number) in taken:
        number -= 1
    return int(number)


def as_json(row: Row) -> dict[str, Any]:
    """Return raw feature values in the form of a request; missing values are left out."""
    values = {name: _value(value) for name, value in row.items()}
    return {name: value for name, value in values.items() if value is not None}


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
