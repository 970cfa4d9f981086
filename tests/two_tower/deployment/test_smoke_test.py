import json

import pytest

from tests.two_tower.cluster import Handler, listening
from tests.two_tower.worlds import every_encoding
from two_tower.deployment import smoke_test


@pytest.fixture(scope="module")
def world():
    return every_encoding()


def test_each_of_the_newest_users_is_asked_for_by_id_and_by_features(world) -> None:
    questions = smoke_test.of_pulled(world, count=3)
    users = world.interactions["user_id"].to_pylist()
    newest = list(dict.fromkeys(reversed(users)))[:3]
    assert [q["user_id"] for q in questions] == [user for user in newest for _ in range(2)]
    assert ["features" in q for q in questions] == [False, True] * 3
    last = len(users) - 1
    given = questions[1]["features"]
    assert set(given) <= {f.name for f in world.contract.user}
    row = world.user.slice(last, 1).to_pylist()[0]
    assert all(row[name] is not None for name in given)


def test_questions_are_json_and_survive_a_file(world, tmp_path) -> None:
    questions = smoke_test.of_pulled(world)
    assert "NaN" not in json.dumps(questions, allow_nan=False)
    smoke_test.write(questions, tmp_path / "questions.json")
    assert smoke_test.read(tmp_path / "questions.json") == questions


def test_a_service_that_does_not_answer_is_asked_a_few_times_only() -> None:
    asked = 500
    reasons, measured = smoke_test.replay("http://127.0.0.1:1", smoke_test.by_id(range(asked)), "r", slowest_ms=1)
    assert measured["failed"] == smoke_test.SILENT
    assert f"{smoke_test.SILENT} of {asked} questions: no answer from http://127.0.0.1:1" in reasons[0]


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "0 items instead of 2"),
        ([{"item_id": "a", "score": 1.0}] * 2, "2 items instead of 2 different ones"),
        ([{"item_id": "a", "score": 0.5}, {"item_id": "b", "score": 0.6}], "descending order"),
        ([{"item_id": "a", "score": 0.6}, {"item_id": "b", "score": 0.5}], ""),
    ],
)
def test_answers_are_looked_at(items, said: str) -> None:
    class Service(Handler):
        def do_POST(self) -> None:  # noqa: N802
            self.body()
            self.answer(200, {"items": items, "release": "r", "fallback": None})

    with listening(Service) as address:
        reasons, _ = smoke_test.replay(address, [{"user_id": "u", "k": 2}], "r", slowest_ms=1e6)
    assert (said in reasons[0]) if said else (reasons == [])
