"""What the page is made of, and the calls that it alone makes. What it does in a browser: test_page_in_browser.py."""

import base64
import hashlib
import re
from importlib import resources

import pyarrow as pa
import pytest

from serving.http.app import loopback
from serving.page.document import SCRIPTS, document
from serving.page.facets import facets
from tests.serving.making import made
from tests.serving.running import opened
from two_tower.schema import Contract, Dtype, feature


def items(client, query):
    answer = client.get(f"/page/items?{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def test_the_page_needs_nothing_from_elsewhere_and_its_policy_allows_its_own_script_alone(client):
    page = client.get("/")
    policy = page.headers["Content-Security-Policy"]
    assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy and "unsafe" not in policy
    assert set(re.findall(r"\w+://[^ '\"]+", page.text)) == {"http://www.w3.org/2000/svg"}  # a name, in the icon
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|\bon\w+=|\beval\b|style=", page.text)
    assert len(document().body) < 100_000


def test_every_script_of_the_package_is_in_the_page():
    there = {one.name for one in resources.files("serving.page").iterdir() if one.name.endswith(".js")}
    assert there == set(SCRIPTS)


def test_what_can_be_asked_for(releases, tmp_path, feast_repo):
    release = made(releases, tmp_path / "parts", feast_repo, users=["ann", "bob"])
    with opened(releases) as client:
        answer = client.get("/page/about")
    about = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert about["release"] == release and about["users"] == ["ann", "bob"] and about["items"] == 10
    assert about["store"] and about["seen"] == "seen_items" and not about["admin"] and about["recall"] == 0.5
    columns = {column["name"]: column for column in about["columns"]}
    assert columns["colour"]["values"] == [["red", 5], ["blue", 5]]
    assert sorted(columns["tags"]["values"]) == [["t0", 4], ["t1", 3], ["t2", 3]]
    assert (columns["price"]["least"], columns["price"]["most"]) == (0.0, 9.0) and sum(columns["price"]["bins"]) == 10
    features = {one["name"]: one["encoding"] for one in about["features"]}
    assert features["recent"] == "history" and features["seen_items"] == "bag"


def test_a_user_as_the_store_knows_him(with_store):
    ann = with_store.get("/page/user?id=ann").json()
    assert ann["known"] and ann["history"] == ["i1"] and ann["features"]["seen_items"] == ["i0", "i1", "gone"]
    nobody = with_store.get("/page/user?id=nobody").json()
    assert nobody == {"user_id": "nobody", "known": False, "features": {}, "history": []}
    assert with_store.get("/page/user").status_code == 422


def test_items_by_id_with_those_of_the_side_index(client):
    client.post("/v1/items", json={"items": [{"item_id": "new", "features": {"colour": "red"}}]})
    client.post("/v1/items", json={"items": [{"item_id": "i2", "features": {"price": 99.0}}]})
    found = items(client, "id=i1&id=new&id=gone&id=i2")
    assert [one["item_id"] for one in found] == ["i1", "new", "i2"]
    assert found[0]["features"] == {"colour": "blue", "price": 1.0, "tags": ["t1"], "popularity": 1.0}
    assert found[1]["features"] == {"colour": "red", "popularity": 0.0} and found[2]["features"]["price"] == 99.0


def test_items_by_search_the_exact_one_first_then_by_popularity(client):
    assert [one["item_id"] for one in items(client, "search=I")] == [f"i{j}" for j in reversed(range(10))]
    assert [one["item_id"] for one in items(client, "search=i3")] == ["i3"]
    assert items(client, "search=nothing of the kind") == []


@pytest.mark.parametrize("query", ["", "id=i1&search=i", "&".join(["id=i1"] * 201), "search=" + "x" * 101])
def test_too_much_or_too_little_at_a_time_is_refused(client, query):
    assert client.get(f"/page/items?{query}").status_code == 422


def test_releases_are_listed_and_the_serving_one_is_marked(releases, tmp_path):
    old, new = made(releases, tmp_path / "old"), made(releases, tmp_path / "new", prefix="n")
    with opened(releases) as client:
        listed = client.get("/page/releases").json()["releases"]
    assert {one["release"]: one["serves"] for one in listed} == {old: False, new: True}


def test_timings_are_told_where_they_are_asked_for(with_store):
    body = {"user_id": "ann", "k": 2}
    assert "seconds" not in with_store.post("/v1/recommend", json=body).json()
    seconds = with_store.post("/v1/recommend", json=body | {"timings": True}).json()["seconds"]
    assert set(seconds) == {"store", "embed", "search", "total"} and all(0 < one < 10 for one in seconds.values())


def test_without_the_page_no_user_is_shown(releases, release):
    with opened(releases, page=False) as client:
        for path in ("/", "/page/about", "/page/user?id=ann", "/page/items?id=i1", "/page/releases"):
            assert client.get(path).status_code == 404
        assert client.post("/v1/recommend", json={"user_id": "ann"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "there"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("shop", False)]
)
def test_the_page_is_there_by_itself_only_where_nobody_else_comes(host, there):
    assert loopback(host) is there


def contract(*fields):
    key = Dtype.STRING
    names = {"user_key": "user_id", "user_key_dtype": key, "item_key": "item_id", "item_key_dtype": key}
    return Contract(**names, user=(feature("age", "Int64", {}),), item=tuple(feature(*one, {}) for one in fields))


def test_a_column_that_tells_no_items_apart_is_no_facet():
    table = pa.table(
        {
            "item_id": [f"i{j}" for j in range(200)],
            "item": [f"i{j}" for j in range(200)],  # a value of its own for each
            "price": pa.array([None] * 200, pa.float32()),
            "weight": pa.array([1.5] * 200, pa.float32()),
            "kind": ["a", None] * 100,
            "popularity": [float(j) for j in range(200)],
        }
    )
    fields = [("item", "String"), ("price", "Float32"), ("weight", "Float32"), ("kind", "String")]
    found = {one["name"]: one for one in facets(table, contract(*fields))}
    assert set(found) == {"kind", "popularity"} and found["kind"]["values"] == [["a", 100]]
