"""Filtered, similar and explained items over HTTP."""

import pytest


def ids(client, path="/v1/recommend", **body):
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def test_answers_hold_filtered_items_only_and_as_many_as_there_are(client):
    red = {"colour": ["red"]}
    assert ids(client, features={"group": "a"}, k=10, filter=red) == ["i0", "i2", "i4", "i6", "i8"]
    assert ids(client, features={"group": "a", "recent": ["i0"]}, k=2, filter=red) == ["i2", "i4"]
    assert ids(client, user_id="nobody", k=2, filter=red | {"price": {"max": 7}}) == ["i6", "i4"]
    assert ids(client, features={"group": "a"}, filter={"tags": "t9"}) == []
    answer = client.post("/v1/recommend", json={"user_id": "u", "filter": {"color": "red"}})
    assert answer.status_code == 422 and "Did you mean 'colour'" in answer.json()["error"]["message"]


def test_similar_items_are_those_nearest_to_the_items_embedding_without_itself(client):
    assert ids(client, "/v1/similar", item_id="i0", k=3) == ["i1", "i2", "i3"]
    assert ids(client, "/v1/similar", item_id="i1", k=3) == ["i9", "i8", "i7"]
    assert ids(client, "/v1/similar", item_id="i1", k=3, filter={"colour": "red"}) == ["i8", "i6", "i4"]
    unknown = client.post("/v1/similar", json={"item_id": "gone"})
    assert unknown.status_code == 404 and unknown.json()["error"]["code"] == "not_found"
    assert client.post("/v1/similar", json={"k": 3}).status_code == 422


def test_explanations_name_the_nearest_history_items(client):
    body = {"features": {"group": "a", "recent": ["i1", "i4", "gone", None]}, "k": 2, "exclude_seen": False}
    answer = client.post("/v1/recommend", json=body | {"explain": True}).json()
    best, other = answer["items"]
    assert best["item_id"] == "i0" and other["item_id"] == "i1"
    assert [one["item_id"] for one in best["nearest_history"]] == ["i4", "i1"]  # i0 and i4 are red
    assert [one["item_id"] for one in other["nearest_history"]] == ["i1", "i4"]
    assert best["nearest_history"][0]["score"] == pytest.approx(1.0)
    none = client.post("/v1/recommend", json={"user_id": "nobody", "k": 1, "explain": True}).json()
    assert none["items"][0]["nearest_history"] == []
