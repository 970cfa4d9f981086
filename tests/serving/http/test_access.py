"""Who may change items and releases, and which web pages may call a service of this machine."""

import pytest

from serving.http.access import ADMIN_TOKEN, ITEMS_TOKEN
from serving.http.openapi import document
from tests.serving.running import opened

ITEM = {"items": [{"item_id": "new", "features": {"colour": "red"}}]}
READS = {"/v1/recommend", "/v1/similar", "/v2/models/{model}/infer"}
WRITES = [
    (method, path.replace("{item_id}", "i1"))
    for path, operations in document()["paths"].items()
    for method in operations
    if method not in ("get", "parameters") and path not in READS
]
BEARER = {"Authorization": "Bearer s3cret"}


@pytest.fixture
def public(releases, release):
    """A client of a service that other machines can reach."""
    with opened(releases, local=False) as client:
        yield client


def test_without_a_token_nobody_else_changes_anything(public, monkeypatch):
    assert len(WRITES) >= 3
    for variable in (None, ADMIN_TOKEN, ITEMS_TOKEN):
        if variable:
            monkeypatch.setenv(variable, " \n")  # an empty value of a Secret
        for method, path in WRITES:
            answer = public.request(method, path, json=ITEM, headers=BEARER)
            assert answer.status_code == 404 and "TWO_TOWER_" in answer.json()["error"]["hint"], (method, path)


def test_each_change_needs_its_token(public, monkeypatch):
    monkeypatch.setenv(ADMIN_TOKEN, "s3cret")
    monkeypatch.setenv(ITEMS_TOKEN, "s3cret")
    for method, path in WRITES:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer s3crét".encode()}):
            assert public.request(method, path, json=ITEM, headers=headers).status_code == 401, (method, path)
    assert f"two_tower_tokens_refused_total {3.0 * len(WRITES)}" in public.get("/metrics").text


@pytest.mark.parametrize("secret", ["s3cret", "s3cret\n", "geheimnis-ä"])
def test_the_token_opens_the_call_also_from_a_file_that_ends_with_a_line_break(public, monkeypatch, secret):
    monkeypatch.setenv(ITEMS_TOKEN, secret)
    answer = public.post("/v1/items", json=ITEM, headers={"Authorization": f"bearer {secret.strip()}".encode()})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("media_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_what_changes_something_is_declared_as_json(client, media_type, monkeypatch):
    monkeypatch.setenv(ADMIN_TOKEN, "s3cret")
    headers = BEARER | ({"Content-Type": media_type} if media_type else {})
    for method, path in WRITES:
        answer = client.request(method, path, content=b'{"items": []}', headers=headers)
        assert answer.status_code == 415 and "application/json" in answer.json()["error"]["hint"], (method, path)
        chunked = client.request(method, path, content=iter([b"{}"]), headers=headers)
        assert chunked.status_code == 415
    accepted = client.post("/v1/items", json=ITEM, headers={"Content-Type": "Application/JSON; charset=utf-8"})
    assert accepted.status_code == 200, accepted.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080"])
def test_this_machine_has_several_names(client, host):
    assert client.get("/v2/health/ready", headers={"Host": host}).status_code == 200
    assert client.get("/", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example:8080"},
        {"Host": "localhost@evil.example"},
        {"Host": "10.0.0.1"},
        {"Host": ""},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Origin": ""},
    ],
)
def test_pages_of_other_sites_reach_nothing_on_this_machine(client, headers):
    calls = [("GET", path) for path in ("/", "/page/about", "/page/user?id=ann", "/metrics", "/nothing")]
    for method, path in [*calls, ("POST", "/v1/recommend"), ("OPTIONS", "/v1/items"), *WRITES]:
        answer = client.request(method, path, headers=headers)
        assert answer.status_code == 403 and answer.json()["error"]["code"] == "forbidden", (method, path)


def test_a_service_for_others_has_any_name(public):
    assert public.get("/v2/health/ready", headers={"Host": "shop.example", "Origin": "https://x"}).status_code == 200
