"""The smoke test: a staged release answers questions whose right answers are known, before it is promoted.

The right features are those of the offline store as of the run. The right items are those that both towers and an exact
search give, as the evaluation ranks, for the features that the online store has at the time of the question.
"""

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from two_tower.deployment import feature_comparison, grpc_client, service_questions
from two_tower.deployment.exact_ranking import ExactRanking
from two_tower.deployment.questions import Questions
from two_tower.deployment.service_questions import OVER_GRPC, UPSERT, Answer, Question, Row
from two_tower.errors import InputError
from two_tower.http_json import NotAnApiError, Response, call
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.online_store import OnlineStore, StoreError
from two_tower.recommender.side_index import SideIndex
from two_tower.recommender.tower import Tower
from two_tower.releases.manifest import File
from two_tower.releases.release import Release
from two_tower.schema import POPULARITY, Contract

FILES, FEATURES = "files of the release", "features online"
TIMEOUT = 5.0  # seconds per request
MAX_RETRIES = 20  # of all requests: on a busy machine the service or the online store may be late
PAUSE = 0.5  # seconds before a retry
_MARGIN = timedelta(seconds=1)  # as in `data.materialize`
ITEMS_TOKEN = "TWO_TOWER_ITEMS_TOKEN"  # noqa: S105 - a variable's name: the service's token for upserts

T = TypeVar("T")


@dataclass(frozen=True)
class Address:
    """The address of a staged release.

    Attributes:
        http: Address for REST, such as http://localhost:8080.
        grpc: Address for gRPC, such as localhost:8081; None if it cannot be reached.
        shared: Whether requests of users reach the same service. Then the test upserts no item, and measures latency.
    """

    http: str
    grpc: str | None = None
    shared: bool = True


@dataclass
class Tally:
    """Counts questions and differences by kind.

    Attributes:
        asked: Number of questions by kind.
        differ: Number of wrong answers by kind.
        reasons: Sentences about the wrong answers.
    """

    asked: dict[str, int] = field(default_factory=dict)
    differ: dict[str, int] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def add(self, kind: str, asked: int, differ: int, reasons: Iterable[str]) -> None:
        """Add the result of the questions of one kind."""
        self.asked[kind] = self.asked.get(kind, 0) + asked
        self.differ[kind] = self.differ.get(kind, 0) + differ
        self.reasons += reasons

    def add_faults(self, kinds: Sequence[str], faults: Sequence[str]) -> None:
        """Add one fault per question, empty if there is none."""
        for kind in dict.fromkeys(kinds):
            of_kind = [fault for one, fault in zip(kinds, faults, strict=True) if one == kind]
            wrong = list(filter(None, of_kind))
            reason = f"{kind}: {len(wrong)} of {len(of_kind)} answers are wrong. {wrong[0]}." if wrong else ""
            self.add(kind, len(of_kind), len(wrong), filter(None, [reason]))

    def table(self) -> list[dict[str, Any]]:
        """Return a row per kind: kind, asked, right, differ."""
        return [
            {"kind": kind, "asked": n, "right": n - self.differ[kind], "differ": self.differ[kind]}
            for kind, n in self.asked.items()
        ]


class Client:
    """A client of the service over REST, which tries a request again if the service or its online store is late.

    Attributes:
        latencies: Milliseconds of each response.

    Args:
        address: Address of the service.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._retries = MAX_RETRIES
        self.latencies: list[float] = []

    def recommend(self, body: Mapping[str, Any]) -> Answer:
        """Send a request for items. Raises OSError if the service does not respond."""
        sent, received, response = self.patiently(
            lambda: call("POST", f"{self._address}/v1/recommend", body, timeout=TIMEOUT),
            lambda response: _any_is_late([response.body]),
        )
        self.latencies.append(1000 * response.seconds)
        return Answer(status=response.status, body=response.body, sent=sent, received=received)

    def patiently(self, request: Callable[[], T], is_late: Callable[[T], bool]) -> tuple[float, float, T]:
        """Send a request, again while it raises OSError or is late; the times of the last one, and its response."""
        while True:
            sent = time.time()
            try:
                response = request()
                if not is_late(response) or not self._may_retry():
                    return sent, time.time(), response
            except OSError:
                if not self._may_retry():
                    raise

    def upsert(self, item: str | int, features: Mapping[str, Any]) -> Response:
        """Add an item to the side index. Raises OSError if the service does not respond."""
        token = os.environ.get(ITEMS_TOKEN)
        headers = {"Authorization": f"Bearer {token}"} if token else None
        body = {"items": [{"item_id": item, "features": features}]}
        return call("POST", f"{self._address}/v1/items", body, headers=headers, timeout=TIMEOUT)

    def _may_retry(self) -> bool:
        """Wait before a retry; False if there were too many."""
        self._retries -= 1
        if self._retries < 0:
            return False
        time.sleep(PAUSE)
        return True


def run(
    address: Address, releases: str | Path, release: Release, questions: Questions, slowest_ms: float
) -> tuple[list[str], dict[str, Any]]:
    """Ask a service the questions, and compare its answers with the right ones.

    Args:
        address: Address of the service.
        releases: Folder or URL of the releases, which holds the side items.
        release: The release that the service has to serve, verified, on this machine.
        questions: Users, and what the run knows of them.
        slowest_ms: Allowed 95th percentile of the latency in milliseconds, at a shared address.

    Returns:
        The reasons why the release must not be promoted, one sentence each, and the figures of the test. Its table
        `questions` has the numbers of questions and of right answers by kind.
    """
    tally, client = Tally(), Client(address.http)
    _compare_files(release, questions, tally)
    try:
        rows = _online_rows(release, questions, tally)
        if tally.reasons:  # the items would differ too
            return tally.reasons, {"questions": tally.table()}
        side = _side_items(releases, release) if address.shared else frozenset()
        _ask_all(address, client, release, questions, rows, side, tally)
    except StoreError as error:
        tally.reasons.append(f"the online store cannot be read with the configuration of the release: {error}.")
    except OSError as error:
        tally.reasons.append(f"no answer from {address.http}: {error}.")
    except NotAnApiError as error:
        tally.reasons.append(str(error))
    except InputError as error:
        tally.reasons.append(f"the online store has a value that the towers do not take: {error}")
    p95 = _percentile_95(client.latencies)
    if address.shared and p95 > slowest_ms:
        tally.reasons.append(f"95 % of the responses took up to {p95:.1f} ms; {slowest_ms:g} ms are allowed.")
    return tally.reasons, {"p95_ms": round(p95, 3), "questions": tally.table()}


def _compare_files(release: Release, questions: Questions, tally: Tally) -> None:
    """Compare the towers and the items of the release with those that the run evaluated."""
    other = [name for name, digest in questions.files.items() if release.manifest.files.get(name) != digest]
    reasons = [
        f"{name} of release {release.id} is not the file that this run evaluated: publish the files of one run."
        for name in other
    ]
    tally.add(FILES, len(questions.files), len(other), reasons)


def _online_rows(release: Release, questions: Questions, tally: Tally) -> Sequence[Row | None]:
    """Compare the users in the online store with the offline store as of the run, and read them as of now.

    They differ only in rows that are older today than the ttl of their view.

    Raises:
        StoreError: If the store cannot be read.
    """
    users = questions.users
    if not release.has(File.FEATURE_STORE) or not users:
        return [None] * len(users)
    store = OnlineStore(release.folder, release.contract)
    if questions.rows is not None:
        rows = store.rows(users, at=release.manifest.as_of + _MARGIN)
        differing, reasons = feature_comparison.compare(users, questions.rows, rows, release.contract, questions.views)
        tally.add(FEATURES, len(users), differing, reasons)
    return store.rows(users)


def _ask_all(
    address: Address,
    client: Client,
    release: Release,
    questions: Questions,
    rows: Sequence[Row | None],
    side: frozenset[Any],
    tally: Tally,
) -> None:
    """Ask the questions of all kinds. Raises OSError if the service does not respond."""
    contract, ranking = release.contract, ExactRanking(release)

    def judge(asked: Sequence[Question], answers: Sequence[Answer]) -> None:
        faults = service_questions.faults(asked, answers, contract, ranking, release.id, side)
        tally.add_faults([one.kind for one in asked], faults)

    features = rows if questions.rows is None else questions.rows
    asked = list(service_questions.about_users(questions.users, rows, features, contract, ranking))
    judge(asked, [client.recommend(one.body) for one in asked])
    by_id = [one for one in asked if one.kind == service_questions.BY_ID]
    if address.grpc and by_id:
        k = by_id[0].body["k"]
        sent, received, bodies = client.patiently(
            lambda: grpc_client.recommend(address.grpc or "", questions.users, k, contract.user_key_dtype), _any_is_late
        )
        over_grpc = [Question(kind=OVER_GRPC, body=one.body, row=one.row) for one in by_id]
        judge(over_grpc, [Answer(status=200, body=body, sent=sent, received=received) for body in bodies])
    if not address.shared:
        tally.add_faults([UPSERT], [_upsert(client, contract, ranking)])
        known = [one for one in by_id if one.row is not None][: service_questions.FEW]
        again = [Question(kind=UPSERT, body=one.body, row=one.row) for one in known]
        judge(again, [client.recommend(one.body) for one in again])


def _side_items(releases: str | Path, release: Release) -> frozenset[Any]:
    """Ids of the items that users of the service have upserted or removed."""
    tower = Tower(release.folder, "item", release.contract, "cpu", threads=1)
    catalogue = Catalogue(release.folder, release.contract)
    index = SideIndex(releases, release.manifest.embedding_space, release.contract, catalogue, tower)
    index.refresh()
    return frozenset(index.items.ids).union(catalogue.ids[row] for row in index.items.removed)


def _upsert(client: Client, contract: Contract, ranking: ExactRanking) -> str:
    """Upsert an item that does not exist, and add it to the ranking; the fault of the response, empty if none."""
    item, features = service_questions.new_item(ranking, contract)
    sent = time.time()
    response = client.upsert(item, service_questions.as_json(features))
    if response.status != 200:
        return f"HTTP {response.status}: {str(response.body)[:200]}"
    row = {**features, contract.item_key: item, POPULARITY: 0.0}
    ranking.add(pa.Table.from_pylist([row], ranking.table.schema), sent, time.time())
    return ""


def _any_is_late(bodies: Sequence[Any]) -> bool:
    """Whether the online store did not answer in time for one of the bodies."""
    return any(isinstance(body, dict) and body.get("fallback") == "store" for body in bodies)


def _percentile_95(latencies: Sequence[float]) -> float:
    return sorted(latencies)[math.ceil(0.95 * len(latencies)) - 1] if latencies else 0.0
