import json

import pytest

from tests.two_tower.cluster import Handler, listening
from tests.two_tower.worlds import every_encoding
from two_tower.deployment import smoke_test


@pytest.fixture(scope="module")
def world():
    return every_encoding()


def test_each_of_the_newest_users_is_requested_by_id_and_by_features(world) -> None:
    requests = smoke_test.requests_of_pull(world, count=3)
    users = world.interactions["user_id"].to_pylist()
    newest = list(dict.fromkeys(reversed(users)))[:3]
    assert [r["user_id"] for r in requests] == [user for user in newest for _ in range(2)]
    assert ["features" in r for r in requests] == [False, True] * 3
    last = len(users) - 1
    features = requests[1]["features"]
    assert set(features) <= {f.name for f in world.contract.user}
    row = world.user.slice(last, 1).to_pylist()[0]
    assert all(row[name] is not None for name in features)


def test_requests_are_json_and_survive_a_file(world, tmp_path) -> None:
    requests = smoke_test.requests_of_pull(world)
    assert "NaN" not in json.dumps(requests, allow_nan=False)
    smoke_test.write(requests, tmp_path / "requests.json")
    assert smoke_test.read(tmp_path / "requests.json") == requests


def test_a_service_that_does_not_answer_gets_a_few_requests_only() -> None:
    count = 500
    reasons, measured = smoke_test.run("http://127.0.0.1:1", smoke_test.requests_by_id(range(count)), "r", slowest_ms=1)
    assert measured["failed"] == smoke_test.MAX_UNANSWERED
    assert f"{smoke_test.MAX_UNANSWERED} of {count} requests: no answer from http://127.0.0.1:1" in reasons[0]


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([], "0 items instead of 2"),
        ([{"item_id": "a", "score": 1.0}] * 2, "2 items instead of 2 different ones"),
        ([{"item_id": "a", "score": 0.5}, {"item_id": "b", "score": 0.6}], "descending order"),
        ([{"item_id": "a", "score": 0.6}, {"item_id": "b", "score": 0.5}], ""),
    ],
)
def test_responses_are_checked(items, reason: str) -> None:
    class Service(Handler):
        def do_POST(self) -> None:  # noqa: N802
            self.body()
            self.answer(200, {"items": items, "release": "r", "fallback": None})

    with listening(Service) as address:
        reasons, _ = smoke_test.run(address, [{"user_id": "u", "k": 2}], "r", slowest_ms=1e6)
    assert (reason in reasons[0]) if reason else (reasons == [])
