"""The smoke test: real requests to a service before it receives all of the traffic."""

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
MAX_UNKNOWN = 0.5  # share of the users that may be missing in the online store
TIMEOUT = 5.0  # seconds per request
MAX_UNANSWERED = 5  # requests without any response, after which the test stops


def requests_of_pull(pulled: Pulled, count: int = USERS) -> list[dict[str, Any]]:
    """Return requests for the `count` most recently active users: each by id, and with the features of that time."""
    key = pulled.contract.user_key
    rows = _newest_rows(pulled.interactions[key], count)
    users = pulled.interactions[key].take(pa.array(rows)).to_pylist()
    features = pulled.user.take(pa.array(rows)).to_pylist()
    return [
        request
        for user, row in zip(users, features, strict=True)
        for request in ({"user_id": user, "k": K}, {"user_id": user, "k": K, "features": as_json(row)})
    ]


def requests_by_id(users: Sequence[str | int]) -> list[dict[str, Any]]:
    """Return one request per user id, without features."""
    return [{"user_id": user, "k": K} for user in users]


def write(requests: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write requests as a JSON file."""
    path.write_text(json.dumps(requests, allow_nan=False))


def read(path: Path) -> list[dict[str, Any]]:
    """Read the requests of a file that `write` wrote."""
    return list(json.loads(path.read_text()))


def run(
    address: str, requests: Sequence[Mapping[str, Any]], release_id: str, slowest_ms: float
) -> tuple[list[str], dict[str, Any]]:
    """Send requests to a service and check its responses.

    Each response must come from the release `release_id` and hold k different items in descending order of score. A
    request with features must be answered by the towers. 95 % of the responses may take at most `slowest_ms`. The
    online store must not fail, and it must know at least half of the users that are requested by id.

    Args:
        address: Address of the service, such as http://localhost:8080.
        requests: Bodies of POST /v1/recommend.
        release_id: Id of the release that has to answer.
        slowest_ms: Allowed 95th percentile of the latency, milliseconds.

    Returns:
        The reasons why the service must not receive traffic, one sentence each, and the figures of the test.
    """
    faults: Counter[str] = Counter()
    unknown, by_id, unanswered = 0, 0, 0
    latencies: list[float] = []
    for request in requests:
        try:
            response = call("POST", f"{address}/v1/recommend", request, timeout=TIMEOUT)
        except OSError as error:
            faults[f"no answer from {address}: {error}"] += 1
            unanswered += 1
            if unanswered == MAX_UNANSWERED:
                break
            continue
        latencies.append(1000 * response.seconds)
        if fault := _fault(request, response, release_id):
            faults[fault] += 1
        elif "features" not in request:
            by_id += 1
            unknown += response.body["fallback"] == "popular"
    reasons = [f"{count} of {len(requests)} requests: {fault}." for fault, count in faults.most_common(3)]
    p95 = _percentile_95(latencies)
    if latencies and p95 > slowest_ms:
        reasons.append(f"95 % of the responses took up to {p95:.1f} ms; {slowest_ms:g} ms are allowed.")
    if by_id and unknown > MAX_UNKNOWN * by_id:
        reasons.append(
            f"the online store knows {by_id - unknown} of {by_id} requested users. Materialise the features into the "
            "store that the service reads."
        )
    return reasons, {"requests": len(requests), "failed": faults.total(), "unknown_users": unknown, "p95_ms": p95}


def _fault(request: Mapping[str, Any], response: Response, release_id: str) -> str:
    """Describes the fault of a response; empty if it has none."""
    if response.status != 200 or not isinstance(response.body, dict):
        return f"HTTP {response.status}: {str(response.body)[:200]}"
    body = response.body
    if body.get("release") != release_id:
        return f"answered by release {body.get('release')}"
    if body.get("fallback") == "store":
        return "the online store failed"
    if "features" in request and body.get("fallback"):
        return f"answered by the fallback {body['fallback']!r} although the request has features"
    items = body.get("items", [])
    scores = [item["score"] for item in items]
    if len({item["item_id"] for item in items}) != request["k"]:
        return f"{len(items)} items instead of {request['k']} different ones"
    if not all(map(math.isfinite, scores)) or scores != sorted(scores, reverse=True):
        return "scores that are not finite or not in descending order"
    return ""


def _percentile_95(latencies: Sequence[float]) -> float:
    return sorted(latencies)[math.ceil(0.95 * len(latencies)) - 1] if latencies else 0.0


def _newest_rows(users: pa.ChunkedArray, count: int) -> list[int]:
    """The last row of each of the `count` most recently active users; the rows are in ascending order of time."""
    codes: Array = users.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    last = {code: row for row, code in enumerate(codes.tolist())}
    return sorted(last.values(), reverse=True)[:count]


def as_json(row: Mapping[str, Any]) -> dict[str, Any]:
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
