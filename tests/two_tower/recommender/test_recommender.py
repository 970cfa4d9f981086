"""The Python API of a release, with and without a real online store."""

import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from tests.serving.making import made
from tests.serving.shelves import stocked
from two_tower.errors import InputError
from two_tower.recommender.errors import RequestError
from two_tower.recommender.recommender import Recommender, load_release
from two_tower.recommender.requests import plain
from two_tower.recommender.response import Response
from two_tower.releases import release
from two_tower.releases.manifest import ReleaseError

ITEMS = 40


@pytest.fixture(scope="module")
def feast_repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stocked(tmp_path_factory.mktemp("feast"))


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    made(tmp_path / "releases", tmp_path / "parts", items=ITEMS)
    return tmp_path / "releases"


@pytest.fixture
def recommender(releases: Path) -> Recommender:
    return load_release(releases)


@pytest.fixture
def with_store(tmp_path: Path, feast_repo: Path) -> Recommender:
    made(tmp_path / "releases", tmp_path / "parts", feast_repo)
    return load_release(tmp_path / "releases")


def ids(response: Response) -> list[str]:
    return [item.item_id for item in response.items]


def test_features_are_ranked_by_the_tower_and_the_index(recommender: Recommender, releases: Path) -> None:
    response = recommender.recommend(features={"group": "a"}, k=3)
    assert tuple(ids(response)) == recommender.items[:3]
    assert [item.score for item in response.items] == pytest.approx([1, 0.99, 0.98])
    assert response.release == recommender.release == release.current(releases) and response.fallback is None
    assert tuple(ids(recommender.recommend(features={"group": "b"}, k=3))) == recommender.items[:-4:-1]


def test_users_are_looked_up_and_their_seen_items_left_out(with_store: Recommender) -> None:
    assert ids(with_store.recommend("ann", k=2)) == ["i2", "i3"]
    assert ids(with_store.recommend(user_id="ann", k=2, exclude_seen=False)) == ["i0", "i1"]
    unknown = with_store.recommend("nobody", k=2)
    assert ids(unknown) == ["i9", "i8"] and unknown.fallback == "popular"
    assert ids(with_store.recommend("nobody", k=2, exclude=["i9"])) == ["i8", "i7"]
    assert ids(with_store.recommend("nobody", features={"group": "a"}, k=2)) == ["i0", "i1"]


def test_a_feature_repository_of_the_caller_replaces_the_releases(releases: Path, feast_repo: Path) -> None:
    assert load_release(releases).recommend("ann", k=1).fallback == "popular"
    assert ids(load_release(releases, feature_repo=feast_repo).recommend("ann", k=1)) == ["i2"]


@pytest.mark.parametrize("user", ["inf", "odd"])
def test_an_unusable_row_of_the_store_gives_popular_items(with_store: Recommender, user: str) -> None:
    assert with_store.recommend(user, k=1).fallback == "store"


def test_a_store_that_fails_gives_popular_items(
    with_store: Recommender, feast_repo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_store.store._config = "project: tiny\nprovider: local\nonline_store: {type: nowhere}\n"
    with caplog.at_level(logging.WARNING):
        responses = with_store.recommend_many(["ann", "bob"], k=1)
    assert [response.fallback for response in responses] == ["store", "store"]
    assert "the online store" in caplog.text
    with pytest.raises(RequestError, match="online store failed"):
        with_store.embed_users(["ann"])


def test_filters_and_exclusions_leave_as_many_items_as_there_are(recommender: Recommender) -> None:
    cheap = recommender.recommend(features={"group": "a"}, k=5, filter={"price": {"max": 3}, "colour": ["red"]})
    assert ids(cheap) == ["i0", "i2"]
    last = recommender.recommend(features={"group": "a"}, k=5, exclude=recommender.items[:-2])
    assert tuple(ids(last)) == recommender.items[-2:]


def test_many_users_are_answered_as_one_by_one(with_store: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("two_tower.recommender.recommender.BATCH", 2)
    users = ["ann", "nobody", "bob", "ann", "inf"]
    many = with_store.recommend_many(np.array(users), k=4, now=1.7e9)
    alone = [with_store.recommend(user, k=4, now=1.7e9) for user in users]
    assert [(ids(r), r.fallback) for r in many] == [(ids(r), r.fallback) for r in alone]
    rows = [{"group": "a"}, {"group": "b", "recent": ("i9",)}]
    assert [ids(r)[0] for r in with_store.recommend_many(features=rows, k=1)] == ["i0", "i8"]
    assert with_store.recommend_many([]) == []


def test_similar_items(recommender: Recommender) -> None:
    response = recommender.similar("i1", k=3, filter={"colour": "blue"})
    assert "i1" not in ids(response) and len(response.items) == 3
    with pytest.raises(RequestError, match="no item 'gone'"):
        recommender.similar("gone")


def test_side_items_are_recommended_after_loading(releases: Path, recommender: Recommender) -> None:
    recommender.ranker.side_index.upsert({"new": {"colour": "red", "price": 3.0}}, now=1.7e9)
    for one in (recommender, load_release(releases)):
        assert ids(one.recommend(features={"group": "a"}, k=2)) == ["i0", "new"]
        assert one.size == ITEMS + 1
        assert one.embed_items(["new", "i0"]).tolist() == [[1, 0], [1, 0]]


def test_embeddings_of_users_and_items(with_store: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("two_tower.recommender.ranker.BATCH", 3)
    assert with_store.embed_users(["ann", "bob"]).tolist() == [[1, 0], [0, 1]]
    assert with_store.embed_users(features=[{"group": "b"}, {}]).tolist() == [[0, 1], [0, 0]]
    assert with_store.embed_items().shape == (10, 2) and with_store.embed_items([]).shape == (0, 2)
    with pytest.raises(RequestError, match="does not know user 'nobody'"):
        with_store.embed_users(["ann", "nobody"])
    with pytest.raises(RequestError, match="no finite embedding"):
        with_store.embed_users(features=[{"age": 3e38}])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Neither user_id nor features"),
        ({"user_id": 7}, "user_id is 7"),
        ({"features": {"grup": "a"}}, "Did you mean 'group'"),
        ({"features": {"group": 7}}, "'group' is 7"),
        ({"features": {"age": 3e38}}, "no finite embedding"),
        ({"features": ["a"]}, "features is"),
        ({"features": {}, "k": 0}, "k is 0.*1 to 40"),
        ({"features": {}, "k": ITEMS + 1}, "k is 41"),
        ({"features": {}, "k": 2.0}, "k is 2.0"),
        ({"features": {}, "exclude": [7]}, "exclude is 7"),
        ({"features": {}, "exclude_seen": "no"}, "exclude_seen is 'no'"),
        ({"features": {}, "filter": {"color": "red"}}, "Did you mean 'colour'"),
    ],
)
def test_bad_input_is_named(recommender: Recommender, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recommender.recommend(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Neither user_ids nor features"),
        ({"user_ids": ["a"], "features": []}, "1 user_ids and 0 features"),
        ({"features": [{}, {"group": 7}]}, "'group' is 7"),
    ],
)
def test_bad_batches_are_named(recommender: Recommender, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        recommender.recommend_many(**arguments)


def test_values_of_numpy_and_datetimes_are_taken(recommender: Recommender) -> None:
    features = {
        "group": np.str_("a"),
        "age": float("nan"),
        "visits": np.int64(3),
        "member": np.bool_(True),
        "joined": datetime(2024, 1, 1, tzinfo=UTC),
        "recent": np.array(["i0"]),
        "taste": np.array([1, 2], dtype=np.float32),
    }
    assert ids(recommender.recommend(features=features, k=np.int64(2))) == ["i1", "i2"]
    assert plain({"a": (np.float32(1), float("nan"))}) == {"a": [1.0, None]}


def test_without_a_current_release_one_must_be_named(releases: Path) -> None:
    name = release.current(releases)
    (releases / "current").unlink()
    with pytest.raises(ReleaseError, match=r"no release of .* is active"):
        load_release(releases)
    assert load_release(releases, name).release == name


def test_a_release_opens_without_the_libraries_of_training_and_serving(releases: Path) -> None:
    code = """
import sys
for name in ("torch", "kfp", "duckdb", "ibis", "great_expectations", "serving", "prometheus_client", "kserve", "feast"):
    sys.modules[name] = None
import two_tower
response = two_tower.load_release(sys.argv[1]).recommend(features={"group": "a"}, k=1)
print(response.items[0].item_id)
"""
    run = subprocess.run([sys.executable, "-c", code, str(releases)], capture_output=True, text=True)
    assert run.stdout == "i0\n", run.stderr
