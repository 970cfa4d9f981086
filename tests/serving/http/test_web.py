import gzip
import json
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.http import middleware
from tests.serving.running import opened
from two_tower.runtime import PROVIDERS


def ids(response):
    assert response.status_code == 200, response.text
    return [item["item_id"] for item in response.json()["items"]]


def post(client, **body):
    return client.post("/v1/recommend", json=body)


def test_features_are_answered_by_the_tower(client, release):
    answer = post(client, features={"group": "a"}, k=3)
    assert answer.json()["release"] == release and answer.json()["fallback"] is None
    assert ids(answer) == ["i0", "i1", "i2"]
    assert [item["score"] for item in answer.json()["items"]] == pytest.approx([1.0, 0.99, 0.98])
    assert ids(post(client, features={"group": "b"}, k=2)) == ["i9", "i8"]


def test_seen_items_are_left_out_unless_asked_for(client):
    seen = {"group": "a", "recent": ["i0", None], "seen_items": ["i2", "gone"]}
    assert ids(post(client, features=seen, k=3)) == ["i1", "i3", "i4"]
    assert ids(post(client, features=seen, k=3, exclude_seen=False)) == ["i0", "i1", "i2"]
    everything = {"seen_items": [f"i{j}" for j in range(9)]}
    assert ids(post(client, features=everything, k=10)) == ["i9"]


def test_unknown_user_gets_popular_items(client):
    answer = post(client, user_id="nobody", k=3)
    assert ids(answer) == ["i9", "i8", "i7"] and answer.json()["fallback"] == "popular"


def test_every_feature_may_be_missing_and_every_type_is_taken(client):
    assert len(ids(post(client, features={}))) == 10
    full = {"group": "a", "age": 0, "visits": 3, "member": True, "joined": "2024-02-01", "recent": [], "taste": [1, 2]}
    assert ids(post(client, features=full, k=1)) == ["i0"]
    assert ids(post(client, features=full | {"joined": 1700000000}, k=1)) == ["i0"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff\xfe{}", 400, "not JSON"),
        (b"[" * 200_000, 400, "depth limit"),
        (b'{"k": NaN}', 400, "unexpected character"),
        (b'{"k": ' + b"9" * 5000 + b"}", 400, "not JSON"),
        (b'{"k": 1e999}', 400, "infinity"),
        (b'{"user_id": "\\ud800"}', 400, "surrogate"),
        (b"[]", 422, "JSON list"),
        (b"{}", 422, "Neither user_id nor features"),
        (b'{"user_id": 7}', 422, "user_id is 7"),
        (b'{"user_id": "u", "k": 11}', 422, "catalogue has 10 items"),
        (b'{"user_id": "u", "k": 0}', 422, "k is 0"),
        (b'{"user_id": "u", "k": true}', 422, "k is True"),
        (b'{"user_id": "u", "exclude_seen": "no"}', 422, "exclude_seen is 'no'"),
        (b'{"usr_id": "u"}', 422, "Did you mean 'user_id'"),
        (b'{"features": []}', 422, "features is []"),
        (b'{"features": {"grup": "a"}}', 422, "Did you mean 'group'"),
        (b'{"features": {"visits": 1.5}}', 422, "'visits' is 1.5"),
        (b'{"features": {"visits": 9223372036854775808}}', 422, "64 bits"),
        (b'{"features": {"age": 1e300}}', 422, "float32"),
        (b'{"features": {"age": true}}', 422, "'age' is True"),
        (b'{"features": {"age": 3e38}}', 422, "no finite embedding"),
        (b'{"features": {"member": 1}}', 422, "true or false"),
        (b'{"features": {"joined": "yesterday"}}', 422, "ISO 8601"),
        (b'{"features": {"joined": "0001-01-01T00:00:00+23:59"}}', 422, "ISO 8601"),
        (b'{"features": {"recent": "i1"}}', 422, "a list"),
        (b'{"features": {"recent": [["i1"]]}}', 422, "an element of"),
        (b'{"features": {"taste": [1, 2, 3]}}', 422, "vectors of 2"),
        (b'{"features": {"taste": [1, null]}}', 422, "an element of"),
        (b" " * (middleware.MAX_BODY + 1), 413, "larger than"),
    ],
)
def test_bad_bodies_are_refused_by_name(client, body, status, says):
    answer = client.post("/v1/recommend", content=body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "hint"} and error["hint"]
    assert says in error["message"] + error["hint"]


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["a", "i1", "2024-01-01"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3)
)
features = st.dictionaries(
    st.sampled_from(["group", "age", "visits", "member", "joined", "recent", "taste", "seen_items"]), values
)
plausible = st.fixed_dictionaries(
    {}, optional={"user_id": values, "k": st.integers(-1, 12) | values, "exclude_seen": values, "features": features}
)


def check(answer):
    assert answer.status_code in (200, 400, 422), answer.text
    body = json.loads(answer.content, parse_constant=pytest.fail)
    assert set(body) == ({"items", "release", "fallback"} if answer.status_code == 200 else {"error"})


relaxed = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@relaxed
@given(body=plausible | values)
def test_no_json_makes_the_service_fail(client, body):
    check(client.post("/v1/recommend", content=json.dumps(body).encode()))


@relaxed
@given(body=st.binary(max_size=200))
def test_no_bytes_make_the_service_fail(client, body):
    check(client.post("/v1/recommend", content=body))


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity", "GZIP"])
def test_a_compressed_body_is_decompressed(client, encoding):
    compress = {"gzip": gzip.compress, "deflate": zlib.compress, "identity": bytes}[encoding.lower()]
    body = compress(json.dumps({"features": {"group": "b"}, "k": 2}).encode())
    assert ids(client.post("/v1/recommend", content=body, headers={"content-encoding": encoding})) == ["i9", "i8"]


@pytest.mark.parametrize(
    ("body", "encoding", "status", "says"),
    [
        (b"{}", "br", 415, "Content-Encoding is 'br'. Allowed: gzip, deflate."),
        (b"{}", "gzip", 400, "The body is not gzip"),
        (gzip.compress(b"{}")[:-4], "gzip", 400, "not one complete compressed stream"),
        (gzip.compress(b" " * (middleware.MAX_BODY + 1)), "gzip", 413, "larger than"),
    ],
    ids=["unknown encoding", "not compressed", "cut off", "too large"],  # a compressed text contains the time
)
def test_a_body_that_cannot_be_decompressed_is_refused_with_the_reason(client, body, encoding, status, says):
    answer = client.post("/v1/recommend", content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status, answer.text
    assert says in " ".join(answer.json()["error"].values())


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/recommend", 405, "method_not_allowed"),
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/%00\xff", 404, "not_found"),
        ("GET", "/v2/models/other/ready", 404, "not_found"),
    ],
)
def test_errors_of_routing_have_the_same_shape(client, method, path, status, code):
    answer = client.request(method, path)
    assert answer.status_code == status and answer.json()["error"]["code"] == code
    assert set(answer.json()["error"]) == {"code", "message", "hint"}


def test_health_and_models(client, release, device):
    assert client.get("/v2/health/live").json() == {"live": True}
    ready = {"ready": True, "release": release, "provider": PROVIDERS[device]}
    assert client.get("/v2/health/ready").json() == ready
    for name in client.get("/v2/models").json()["models"]:
        assert client.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}


def test_without_a_release_it_lives_but_is_not_ready(releases):
    with opened(releases) as client:
        assert client.get("/v2/health/live").status_code == 200
        for answer in (
            client.get("/v2/health/ready"),
            post(client, user_id="u"),
            client.get("/v2/models/two_tower/ready"),
        ):
            assert answer.status_code == 503 and answer.headers["Retry-After"] == "1"
            assert answer.json()["error"]["code"] == "not_ready"


def test_overload_is_refused_at_once(client, monkeypatch):
    monkeypatch.setattr(middleware, "MAX_IN_FLIGHT", 0)
    answer = post(client, user_id="u")
    assert answer.status_code == 503 and answer.json()["error"]["code"] == "overloaded"
    assert answer.headers["Retry-After"] == "1"


def test_metrics_count_requests_stages_and_fallbacks(client, release):
    post(client, user_id="nobody")
    post(client, features={"group": "a"})
    post(client, k=-1)
    client.get("/made/up/by/a/client")
    text = client.get("/metrics").text
    for line in (
        'two_tower_requests_total{route="/v1/recommend",status="200"} 2.0',
        'two_tower_requests_total{route="/v1/recommend",status="422"} 1.0',
        'two_tower_requests_total{route="other",status="404"} 1.0',
        'two_tower_fallbacks_total{reason="popular"} 1.0',
        'two_tower_stage_seconds_count{stage="embed"} 1.0',
        'two_tower_stage_seconds_count{stage="search"} 1.0',
        'two_tower_stage_seconds_count{stage="total"} 2.0',
        f'two_tower_release{{release="{release}"}} 1.0',
        "two_tower_releases_refused_total 0.0",
    ):
        assert line in text.splitlines(), text
