"""A real Feast online store, read without a server."""

import shutil
import threading
import time
from pathlib import Path

import pytest

from tests.serving.making import USERS
from tests.serving.shelves import stocked
from tests.two_tower import parts
from two_tower.errors import InputError
from two_tower.recommender import online_store
from two_tower.recommender.online_store import OnlineStore, StoreError


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stocked(tmp_path_factory.mktemp("feast"))


def test_rows_come_in_the_order_of_the_users(repo: Path) -> None:
    store = OnlineStore(repo, parts.CONTRACT)
    bob, nobody, ann, again = store.rows(["bob", "nobody", "ann", "bob"])
    assert nobody is None and bob["group"] == "b" and bob == again
    assert ann["seen_items"] == USERS["ann"]["seen_items"] and ann["joined"].year == 2024
    assert store.feature_time("ann").year == 2024 and store.feature_time("nobody") is None


def test_a_folder_without_a_feature_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"feature_store\.yaml does not exist"):
        OnlineStore(tmp_path, parts.CONTRACT)


def test_a_store_that_fails_is_opened_again_after_a_while(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(repo, tmp_path / "feast")
    config = (copy / "feature_store.yaml").read_text()
    (copy / "feature_store.yaml").write_text(config.replace("type: sqlite", 'type: "${STORE_TYPE}"'))
    store = OnlineStore(copy, parts.CONTRACT)
    with pytest.raises(StoreError, match="STORE_TYPE"):
        store.rows(["ann"])
    monkeypatch.setenv("STORE_TYPE", "sqlite")
    with pytest.raises(StoreError, match="a moment ago"):
        store.rows(["ann"])
    monkeypatch.setattr(online_store, "REOPEN_AFTER", 0.0)
    assert store.rows(["ann"])[0]["group"] == "a"


def test_a_store_that_hangs_keeps_nobody_waiting(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, go = OnlineStore(repo, parts.CONTRACT), threading.Event()
    monkeypatch.setattr(store, "read", lambda users, at: go.wait(10))
    with pytest.raises(StoreError, match=r"no answer within 0\.05 s"):
        store.rows(["ann"], timeout=0.05)
    go.set()


def test_the_import_of_feast_does_not_count_as_waiting(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = OnlineStore(repo, parts.CONTRACT)
    imported = online_store.import_module
    monkeypatch.setattr(online_store, "import_module", lambda name: (time.sleep(0.3), imported(name)))
    monkeypatch.setattr(store, "read", lambda users, at: [None for _ in users])
    assert store.rows(["ann"], timeout=0.2) == [None]
