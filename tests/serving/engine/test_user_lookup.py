"""The service with a real Feast online store: what it answers, and what it does when the store fails or hangs."""

import shutil
import sqlite3
import time

import pytest

from serving.engine import user_lookup
from tests.serving.making import made
from tests.serving.running import opened
from two_tower.recommender import online_store


def post(client, **body):
    answer = client.post("/v1/recommend", json=body)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]], answer.json()["fallback"]


@pytest.fixture
def own_store(releases, tmp_path, feast_repo, monkeypatch):
    """A client of a service with a store of its own, which a test may harm, and the path of its database."""
    monkeypatch.setattr(online_store, "REOPEN_AFTER", 0.0)
    repo = shutil.copytree(feast_repo, tmp_path / "feast")
    made(releases, tmp_path / "parts", repo)
    with opened(releases) as client:
        yield client, repo / "data" / "online.db"


def test_known_users_are_answered_from_their_features(with_store):
    assert post(with_store, user_id="ann", k=2) == (["i2", "i3"], None)  # i0 and i1 are seen
    assert post(with_store, user_id="ann", k=2, exclude_seen=False) == (["i0", "i1"], None)
    assert post(with_store, user_id="bob", k=2) == (["i9", "i8"], None)


def test_users_unknown_to_the_store_get_popular_items(with_store):
    assert post(with_store, user_id="nobody", k=2) == (["i9", "i8"], "popular")
    assert post(with_store, user_id="nobody", k=2, features={"group": "a"}) == (["i0", "i1"], None)


@pytest.mark.parametrize(("user", "best"), [("inf", ["i7", "i6"]), ("odd", ["i9", "i8"])])
def test_a_row_that_the_tower_cannot_take_is_the_stores_fault(with_store, user, best):
    assert post(with_store, user_id=user, k=2) == (best, "store")


def test_locked_database_hangs_no_request_and_recovers(own_store, caplog):
    client, database = own_store
    assert post(client, user_id="ann", k=1) == (["i2"], None)
    with sqlite3.connect(database, isolation_level=None) as lock:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        for _ in range(3):
            began = time.perf_counter()
            assert post(client, user_id="ann", k=1) == (["i9"], "store")
            assert time.perf_counter() - began < 4 * user_lookup.TIMEOUT
        assert 'two_tower_fallbacks_total{reason="store"} 3.0' in client.get("/metrics").text
    lock.close()
    deadline = time.monotonic() + 10
    while post(client, user_id="ann", k=1) != (["i2"], None):
        assert time.monotonic() < deadline, "the store did not recover"
    said = [
        r.getMessage() for r in caplog.records if r.name == "serving.engine.user_lookup" and r.levelname == "WARNING"
    ]
    assert len(said) == 1 and "no answer within 0.25 s" in said[0]


def test_broken_database_falls_back(own_store):
    client, database = own_store
    database.write_bytes(b"not a database" * 100)
    assert post(client, user_id="ann", k=1) == (["i9"], "store")


def test_registry_absent_at_the_start_falls_back_until_it_is_there(releases, tmp_path, feast_repo, monkeypatch):
    monkeypatch.setattr(online_store, "REOPEN_AFTER", 0.0)
    monkeypatch.setattr(user_lookup, "TIMEOUT", 5.0)
    repo = shutil.copytree(feast_repo, tmp_path / "feast")
    registry = repo / "data" / "registry.db"
    registry.rename(repo / "hidden")
    made(releases, tmp_path / "parts", repo)
    with opened(releases) as client:
        assert post(client, user_id="ann", k=1) == (["i9"], "store")
        (repo / "hidden").replace(registry)
        deadline = time.monotonic() + 20
        while post(client, user_id="ann", k=1) != (["i2"], None):
            assert time.monotonic() < deadline


def test_feature_repo_of_the_operator_wins_over_the_releases(releases, release, feast_repo):
    with opened(releases, feast_repo) as client:
        assert post(client, user_id="ann", k=1) == (["i2"], None)
