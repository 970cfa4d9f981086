"""The smoke test against the service itself, over a real online store."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from serving.http.background import serve_in_background
from tests.serving.running import wait_until_ready
from tests.serving.shelves import stocked
from tests.two_tower import parts
from tests.two_tower.deployment.conftest import consistent
from two_tower.data.online_config import online_config
from two_tower.deployment import smoke_test
from two_tower.deployment.questions import Questions, digests
from two_tower.deployment.smoke_test import Address
from two_tower.recommender.online_store import OnlineStore
from two_tower.releases.release import Release, open_release, publish

USERS = ["ann", "bob", "nobody"]
NOTHING = dict.fromkeys([*(f.name for f in parts.CONTRACT.user), "seen_items"])


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Address, Release, Questions]]:
    """The address of a service, its release, and questions that it answers right."""
    folder = tmp_path_factory.mktemp("staged")
    repo = stocked(tmp_path_factory.mktemp("feast"))
    consistent(folder / "parts")
    (folder / "parts" / "feature_store.yaml").write_text(online_config(repo))
    releases = str(folder / "releases")
    release = open_release(releases, publish(releases, [folder / "parts"], parts.manifest()), folder)
    rows = [row or NOTHING for row in OnlineStore(release.folder, release.contract).rows(USERS)]
    questions = Questions(
        users=USERS, rows=rows, views=dict.fromkeys(NOTHING, "users"), files=digests(folder / "parts")
    )
    with serve_in_background(releases, release.id) as (http, grpc):
        wait_until_ready(http)
        yield Address(http, grpc, shared=False), release, questions


def ask(staged, questions: Questions, **changes) -> tuple[list[str], dict[str, tuple[int, int]]]:
    """Run the smoke test; the reasons, and the numbers of questions and of differences by kind.

    As at a shared address, the test upserts no item: the service is that of all tests of this file.
    """
    address, release, _ = staged
    address = replace(address, **{"shared": True, **changes})
    reasons, figures = smoke_test.run(address, release.folder.parent, release, questions, slowest_ms=1e6)
    return reasons, {row["kind"]: (row["asked"], row["differ"]) for row in figures["questions"]}


def test_a_right_release_passes_with_every_kind_of_question(staged) -> None:
    reasons, table = ask(staged, staged[2], shared=False)
    assert reasons == []
    assert table == {
        "files of the release": (3, 0),
        "features online": (3, 0),
        "items by user id": (3, 0),
        "items by features": (3, 0),
        "items with seen ones": (2, 0),
        "filtered items": (2, 0),
        "unknown user": (1, 0),
        "text and integer ids": (2, 0),
        "items over gRPC": (3, 0),
        "upserted item": (3, 0),
    }


def test_a_feature_that_differs_online_is_named_with_its_view_the_user_and_both_values(staged) -> None:
    questions = staged[2]
    rows = [dict(row) for row in questions.rows]
    rows[1]["visits"] = 4
    reasons, table = ask(staged, replace(questions, rows=rows))
    assert table["features online"] == (3, 1)
    assert reasons == [
        "feature 'visits' of feature view 'users' differs online for 1 of 3 users. User 'bob': online 3, offline 4. "
        "The online row is of another time than the newest offline row, or of another store: materialise again."
    ]


def test_a_file_of_another_run_is_named(staged) -> None:
    reasons, _ = ask(staged, replace(staged[2], files={"user_tower.onnx": "0" * 64}))
    assert "user_tower.onnx of release" in reasons[0] and "not the file that this run evaluated" in reasons[0]


def test_a_service_with_another_online_store_is_seen_by_its_items(staged, monkeypatch: pytest.MonkeyPatch) -> None:
    """The release's own store gets another row of a user than the service's."""
    questions = staged[2]
    other = OnlineStore.rows

    def rows(self, users, *arguments):
        return [row and {**row, "group": "b"} for row in other(self, users, *arguments)]

    monkeypatch.setattr(smoke_test.OnlineStore, "rows", rows)
    reasons, table = ask(staged, replace(questions, rows=None))
    assert table["items by user id"][1] > 0
    assert reasons[0].startswith("items by user id: 1 of 3 answers are wrong. user 'ann': item 'i")


def test_a_shared_address_gets_no_item_and_its_latency_counts(staged) -> None:
    address, release, questions = staged
    shared = replace(address, shared=True, grpc=None)
    reasons, figures = smoke_test.run(shared, release.folder.parent, release, questions, slowest_ms=1e-6)
    assert len(reasons) == 1 and "95 % of the responses took up to" in reasons[0]
    assert "upserted item" not in {row["kind"] for row in figures["questions"]}


def test_a_service_that_does_not_answer_stops_the_test(staged) -> None:
    reasons, _ = ask(staged, staged[2], http="http://127.0.0.1:1")
    assert len(reasons) == 1 and reasons[0].startswith("no answer from http://127.0.0.1:1: ")


def test_the_figures_are_json(staged) -> None:
    address, release, questions = staged
    json.dumps(smoke_test.run(address, release.folder.parent, release, questions, slowest_ms=1e6)[1], allow_nan=False)
