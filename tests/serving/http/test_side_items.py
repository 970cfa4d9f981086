"""Items that come between two releases."""

import time
from urllib.parse import quote

import pytest

from serving.engine import release_manager
from tests.serving.making import made
from tests.serving.running import opened
from two_tower.recommender import side_index
from two_tower.recommender.recommender import load_release


def ids(client, **body):
    answer = client.post("/v1/recommend", json={"features": {"group": "a"}} | body)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def upsert(client, item_id, status=200, **features):
    answer = client.post("/v1/items", json={"items": [{"item_id": item_id, "features": features}]})
    assert answer.status_code == status, answer.text
    return answer.json()


def test_new_items_answer_at_once(client, release):
    assert upsert(client, "new", colour="red", price=3) == {"upserted": 1, "side_items": 1, "release": release}
    assert ids(client, k=2) == ["i0", "new"]  # of equal scores, the catalogue's comes first
    assert len(ids(client, k=11)) == 11
    assert ids(client, k=2, filter={"price": {"min": 2, "max": 4}}) == ["new", "i2"]
    assert ids(client, features={"group": "a", "seen_items": ["new"]}, k=2) == ["i0", "i1"]
    assert ids(client, features={"group": "b"}, k=11)[-2:] in (["i0", "new"], ["new", "i0"])
    similar = client.post("/v1/similar", json={"item_id": "new", "k": 1}).json()
    assert similar["items"][0]["item_id"] == "i0"


def test_changed_items_stand_for_their_old_selves(client):
    upsert(client, "i9", colour="red")
    assert ids(client, k=10).count("i9") == 1 and ids(client, k=2) == ["i0", "i9"]
    assert ids(client, k=10, filter={"price": 9}) == ["i9"]  # what is not given stays
    upsert(client, "i9", colour="blue")  # as the catalogue has it: nothing is left to stand beside
    assert ids(client, k=10)[-1] == "i9"


def test_side_items_outlive_a_restart_and_a_release_of_the_same_space_only(releases, tmp_path, monkeypatch):
    monkeypatch.setattr(release_manager, "POLL_EVERY", 0.01)
    made(releases, tmp_path / "parts")
    with opened(releases) as client, opened(releases) as replica:
        upsert(client, "new", colour="red")
        for _ in range(1000):
            if "new" in ids(replica, k=2):
                break
        assert ids(replica, k=2) == ["i0", "new"]
    made(releases, tmp_path / "same", prefix="s")
    with opened(releases) as client:
        assert ids(client, k=2) == ["s0", "new"]
    made(releases, tmp_path / "other", space="space-2")
    with opened(releases) as client:
        assert ids(client, k=2) == ["i0", "i1"]


def test_items_that_the_catalogue_has_by_now_leave_the_side_index(releases, tmp_path):
    made(releases, tmp_path / "ten")
    with opened(releases) as client:
        upsert(client, "i10", colour="red", price=10, tags=["t1"])
        upsert(client, "i11", colour="red", price=10, tags=["t1"])
        assert "two_tower_side_items" in client.get("/metrics").text
    made(releases, tmp_path / "eleven", items=11)
    with opened(releases) as client:
        assert upsert(client, "i12", colour="red")["side_items"] == 2  # i11 and i12


def remove(client, item_id, status=200):
    answer = client.delete(f"/v1/items/{quote(item_id, safe='')}")
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.mark.parametrize("item", ["new", "a/b", "with space?#", "ünï/"])
def test_a_side_item_can_be_removed(client, release, item):
    upsert(client, item, colour="red")
    assert item in ids(client, k=11)
    assert remove(client, item) == {"removed": 1, "side_items": 0, "release": release}
    assert item not in ids(client, k=10)
    assert client.post("/v1/similar", json={"item_id": item, "k": 1}).status_code == 404
    assert remove(client, item, 404)["error"]["code"] == "not_found"
    assert 'two_tower_requests_total{route="/v1/items/{item_id}",status="200"} 1.0' in client.get("/metrics").text


def test_a_removed_item_of_the_catalogue_is_nowhere_recommended(client):
    assert ids(client, k=2) == ["i0", "i1"]
    remove(client, "i0")
    assert ids(client, k=2) == ["i1", "i2"] and "i0" not in ids(client, k=9)
    assert client.post("/v1/recommend", json={"features": {}, "k": 10}).status_code == 422  # 9 are left
    remove(client, "i9")  # the most popular one
    popular = client.post("/v1/recommend", json={"user_id": "unknown", "k": 1}).json()
    assert popular["fallback"] == "popular" and [one["item_id"] for one in popular["items"]] == ["i8"]
    similar = client.post("/v1/similar", json={"item_id": "i0", "k": 8}).json()  # its own page may still be open
    assert {"i0", "i9"}.isdisjoint(one["item_id"] for one in similar["items"])
    upsert(client, "i0")
    assert ids(client, k=1) == ["i0"]


def test_a_removal_outlives_a_restart_and_a_release_of_the_same_space(releases, tmp_path):
    made(releases, tmp_path / "parts")
    with opened(releases) as client:
        remove(client, "i0")
    made(releases, tmp_path / "eleven", items=11)
    with opened(releases) as client:
        assert ids(client, k=2) == ["i1", "i2"]
    assert [item.item_id for item in load_release(releases).recommend(features={"group": "a"}, k=2).items] == [
        "i1",
        "i2",
    ]


def test_items_expire_after_the_time_that_the_service_is_started_with(releases, release, monkeypatch):
    with opened(releases, items_keep=60) as client:
        upsert(client, "new", colour="red")
        assert ids(client, k=2) == ["i0", "new"]
    later = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: later)
    with opened(releases) as client:
        assert ids(client, k=2) == ["i0", "i1"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "items is None"),
        ({"items": []}, "items is"),
        ({"items": ["new"]}, "An item is"),
        ({"items": [{"item_id": 5, "features": {}}]}, "item_id is 5"),
        ({"items": [{"item_id": "n"}]}, "features is None"),
        ({"items": [{"item_id": "n", "features": {"color": "red"}}]}, "Did you mean 'colour'"),
        ({"items": [{"item_id": "n", "features": {"price": "3"}}]}, "'price' is '3'"),
        ({"items": [{"item_id": "n", "features": {}}] * 1001}, "items is"),
    ],
)
def test_bad_items_are_refused_by_name(client, body, says):
    answer = client.post("/v1/items", json=body)
    assert answer.status_code == 422 and says in answer.json()["error"]["message"], answer.text


def test_a_full_side_index_takes_no_more(client, monkeypatch):
    monkeypatch.setattr(side_index, "MOST_ITEMS", 1)
    upsert(client, "one", colour="red")
    assert upsert(client, "two", 503, colour="red")["error"]["code"] == "side_index_full"
    upsert(client, "one", colour="blue")


def test_items_that_cannot_be_kept_are_not_answered(client, releases):
    (releases / side_index.FOLDER).write_text("in the way")
    assert upsert(client, "new", 503, colour="red")["error"]["code"] == "not_stored"
    assert ids(client, k=2) == ["i0", "i1"]


def test_a_token_closes_the_route_to_strangers(client, monkeypatch):
    monkeypatch.setenv("TWO_TOWER_ITEMS_TOKEN", "secret")
    assert upsert(client, "new", 401, colour="red")["error"]["code"] == "unauthorized"
