"""Switching releases under a running service."""

import asyncio
import threading

import httpx
import pytest
from starlette.testclient import TestClient

from serving.engine import release_manager
from serving.engine.loaded_release import LoadOptions
from serving.engine.release_manager import ReleaseManager
from serving.engine.user_lookup import Pool
from serving.http.web import create_app
from serving.observability.metrics import Metrics
from tests.serving.making import made
from tests.serving.running import opened, wait_until_open
from tests.two_tower import parts
from two_tower.recommender.errors import RequestError
from two_tower.releases.release import CURRENT, activate, current, publish


def manager_of(releases):
    return ReleaseManager(
        LoadOptions(releases=str(releases), feature_repo=None, pool=Pool(threads=1), metrics=Metrics())
    )


@pytest.fixture
def manager(releases):
    return manager_of(releases)


def refused(manager):
    return next(
        line for line in manager._metrics.text().decode().splitlines() if line.startswith("two_tower_releases_ref")
    )


def test_first_release_is_picked_up_when_it_is_activated(releases, tmp_path, monkeypatch):
    monkeypatch.setattr(release_manager, "POLL_EVERY", 0.01)
    with opened(releases) as client:
        assert client.get("/v2/health/ready").status_code == 503
        one = made(releases, tmp_path / "parts")
        for _ in range(1000):
            if client.get("/v2/health/ready").status_code == 200:
                break
        assert client.post("/v1/recommend", json={"user_id": "u"}).json()["release"] == one


def test_release_harmed_after_activation_is_refused_and_the_old_one_serves_on(manager, releases, tmp_path, caplog):
    old = made(releases, tmp_path / "old")
    manager.poll()
    new = made(releases, tmp_path / "new", prefix="new-")
    (releases / new / "index.onnx").write_bytes(b"torn")
    for _ in range(3):
        manager.poll()
    assert manager.loaded.ranker.release == old
    assert refused(manager) == "two_tower_releases_refused_total 1.0"
    assert f"refused release {new}, still serving {old}" in caplog.text and "index.onnx" in caplog.text


def test_a_pinned_service_takes_no_other_release(releases, tmp_path):
    old, new = made(releases, tmp_path / "old"), made(releases, tmp_path / "new", prefix="new-")
    pinned = LoadOptions(releases=str(releases), feature_repo=None, pool=Pool(1), metrics=Metrics(), pinned=old)
    manager = ReleaseManager(pinned)
    manager.poll()
    for move in (lambda: manager.activate(old), manager.rollback):
        with pytest.raises(RequestError, match=f"serves {old} and ignores"):
            move()
    assert manager.serving == old and current(releases) == new


def test_index_of_another_catalogue_is_refused(manager, releases, tmp_path):
    folder = parts.write(tmp_path / "ten")
    (parts.write(tmp_path / "nine", items=9) / "items.parquet").replace(folder / "items.parquet")
    activate(releases, publish(releases, [folder], parts.manifest()))
    manager.poll()
    assert manager.loaded is None and refused(manager) == "two_tower_releases_refused_total 1.0"


def test_torn_pointer_changes_nothing(manager, releases, release):
    manager.poll()
    (releases / CURRENT).write_bytes(b"\xff")
    manager.poll()
    manager.poll()
    assert manager.loaded.ranker.release == release
    assert refused(manager) == "two_tower_releases_refused_total 1.0"
    activate(releases, release)
    manager.poll()
    assert manager.loaded.ranker.release == release


@pytest.mark.parametrize("url", ["folder", "memory"])
def test_of_two_operators_at_once_one_is_told_of_the_conflict(tmp_path, monkeypatch, url):
    url = str(tmp_path / "releases") if url == "folder" else f"memory://{tmp_path.name}/releases"
    new, third, old = (made(url, tmp_path / name, prefix=name) for name in ("new", "third", "old"))
    manager, other = manager_of(url), manager_of(url)
    manager.poll()
    other.poll()
    load = manager._load

    def load_slowly(release):
        loaded = load(release)
        other.activate(third)
        return loaded

    monkeypatch.setattr(manager, "_load", load_slowly)
    with pytest.raises(RequestError, match=f"changed the current release to {third}") as error:
        manager.activate(new)
    assert (error.value.status, error.value.code) == (409, "conflict")
    assert (current(url), manager.serving, other.serving) == (third, old, third)
    monkeypatch.undo()
    manager.poll()
    assert manager.serving == third
    manager.activate(third)  # the current one: nothing to do


def test_two_rollbacks_at_once_roll_back_once(releases, tmp_path, monkeypatch):
    _, middle, _ = (made(releases, tmp_path / f"p{n}", prefix=f"p{n}") for n in range(3))
    manager, other = manager_of(releases), manager_of(releases)
    load = manager._load
    monkeypatch.setattr(manager, "_load", lambda release: other.rollback() and load(release))
    assert manager.rollback() == other.serving == middle == current(releases)


def test_a_failed_activation_leaves_a_newer_pointer(releases, tmp_path, monkeypatch):
    broken, newer, _ = (made(releases, tmp_path / name, prefix=name) for name in ("broken", "newer", "old"))
    manager, other = manager_of(releases), manager_of(releases)
    manager.poll()
    (releases / broken / "index.onnx").write_bytes(b"torn")
    load = manager._load
    monkeypatch.setattr(manager, "_load", lambda release: other.activate(newer) and load(release))
    with pytest.raises(RequestError, match=r"index\.onnx differs") as error:
        manager.activate(broken)
    assert error.value.status == 422 and current(releases) == newer


def test_a_failed_first_activation_leaves_no_pointer(releases, tmp_path):
    folder = parts.write(tmp_path / "parts")
    (folder / "items.parquet").write_bytes(b"not parquet")
    one = publish(releases, [folder], parts.manifest())
    with pytest.raises(RequestError, match=rf"release {one} cannot be opened: .*[Pp]arquet") as error:
        manager_of(releases).activate(one)
    assert error.value.status == 422 and current(releases) is None


def test_releases_of_an_object_store_are_served(tmp_path):
    url = "memory://served/releases"
    one = made(url, tmp_path / "parts")
    manager = manager_of(url)
    manager.poll()
    assert manager.loaded.ranker.release == one


def test_every_answer_is_of_one_release_while_they_are_switched(releases, tmp_path, monkeypatch):
    monkeypatch.setattr(release_manager, "POLL_EVERY", 0.001)
    by_prefix = {f"r{n}-": made(releases, tmp_path / f"r{n}", prefix=f"r{n}-") for n in range(2)}
    app = create_app(str(releases))
    stop = threading.Event()

    def switch():
        while not stop.is_set():
            for one in by_prefix.values():
                activate(releases, one)

    async def ask(client):
        bodies = ({"user_id": "u", "k": 5}, {"features": {"group": "a"}, "k": 5})
        answers = [await client.post("/v1/recommend", json=bodies[n % 2]) for n in range(60)]
        for answer in answers:
            assert answer.status_code == 200
            ids = [item["item_id"] for item in answer.json()["items"]]
            assert {by_prefix[i[:3]] for i in ids} == {answer.json()["release"]}, answer.text
        return {answer.json()["release"] for answer in answers}

    async def run():
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://t") as client:
            seen = set()
            for _ in range(20):
                seen |= set().union(*await asyncio.gather(*(ask(client) for _ in range(4))))
                if len(seen) == 2:
                    return seen
        return seen

    switcher = threading.Thread(target=switch)
    switcher.start()
    try:
        with TestClient(app) as client:  # for its start and stop
            wait_until_open(client)
            assert asyncio.run(run()) == set(by_prefix.values())
    finally:
        stop.set()
        switcher.join()
