"""What strangers, operators and failing neighbours may do to the service."""

import gc
import http.client
import json
import logging
import signal
import socket
import sqlite3
import threading
import time
from contextlib import closing, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from serving.http import middleware
from serving.observability import tracing
from serving.observability.logs import REQUEST_ID, JsonLines, request_id
from tests.serving.making import made
from tests.serving.running import opened, service
from two_tower.releases.release import current

TOKEN = {"Authorization": "Bearer s3cret"}


def call(client, path, body=None, **headers):
    answer = client.post(path, json=body or {}, headers=headers)
    return answer.status_code, answer.json()


def test_admin_calls_are_off_without_a_token(client):
    status, said = call(client, "/admin/rollback")
    assert status == 404 and "TWO_TOWER_ADMIN_TOKEN" in said["error"]["hint"]


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3cret2"])
def test_admin_calls_need_the_token(client, monkeypatch, given):
    monkeypatch.setenv("TWO_TOWER_ADMIN_TOKEN", "s3cret")
    headers = {} if given is None else {"Authorization": given}
    assert client.post("/admin/rollback", json={}, headers=headers).status_code == 401


def test_an_operator_activates_and_rolls_back(releases, tmp_path, monkeypatch):
    monkeypatch.setenv("TWO_TOWER_ADMIN_TOKEN", "s3cret")
    old = made(releases, tmp_path / "old")
    new = made(releases, tmp_path / "new", prefix="n")
    torn = made(releases, tmp_path / "torn", prefix="t")
    with opened(releases) as client:
        assert call(client, "/admin/activate", {"release": new}, **TOKEN) == (200, {"release": new})
        assert client.get("/v2/health/ready").json()["release"] == new == current(releases)
        assert call(client, "/admin/rollback", **TOKEN) == (200, {"release": old})
        (releases / torn / "index.onnx").write_bytes(b"torn")
        status, said = call(client, "/admin/activate", {"release": torn}, **TOKEN)
        assert status == 422 and "index.onnx" in said["error"]["message"]
        for unknown in ("20240301T120000-00000000", "../..", "", "\x00"):
            assert call(client, "/admin/activate", {"release": unknown}, **TOKEN)[0] == 404
        assert call(client, "/admin/activate", {"release": 5}, **TOKEN)[0] == 422
        assert call(client, "/admin/rollback", **TOKEN)[0] == 422  # it is the oldest
        assert client.get("/v2/health/ready").json()["release"] == old == current(releases)


def test_a_release_that_cannot_be_opened_leaves_the_pointer_as_it_was(releases, tmp_path, monkeypatch):
    monkeypatch.setenv("TWO_TOWER_ADMIN_TOKEN", "s3cret")
    from tests.two_tower import parts
    from two_tower.releases.release import publish

    old = made(releases, tmp_path / "old")
    folder = parts.write(tmp_path / "ten", prefix="n")
    (parts.write(tmp_path / "nine", items=9) / "items.parquet").replace(folder / "items.parquet")
    mixed = publish(releases, [folder], parts.manifest())
    with opened(releases) as client:
        status, said = call(client, "/admin/activate", {"release": mixed}, **TOKEN)
        assert status == 422 and "Index again" in said["error"]["message"]
        assert current(releases) == old == client.get("/v2/health/ready").json()["release"]


def test_each_answer_has_a_request_id_and_the_log_names_it(client, caplog):
    caplog.set_level(logging.INFO)
    answer = client.post("/v1/recommend", content=b"{", headers={"X-Request-Id": "abc-1"})
    assert answer.headers["X-Request-Id"] == "abc-1"
    record = next(r for r in caplog.records if r.name == "serving.http.middleware")
    REQUEST_ID.set("abc-1")
    line = json.loads(JsonLines().format(record))
    REQUEST_ID.set("")
    assert line["request_id"] == "abc-1" and line["status"] == 400 and line["route"] == "/v1/recommend"
    assert client.get("/").headers["X-Request-Id"]
    assert request_id(b"a b\n") != "a b\n" and len(request_id(None)) == 16


def test_bodies_that_come_too_slowly_or_say_too_much_are_refused(client, monkeypatch):
    for path, most in (("/v1/items", middleware.MAX_BODY), ("/v2/models/user_tower/infer", middleware.MAX_TENSORS)):
        answer = client.post(path, content=b" " * (most + 1))
        assert answer.status_code == 413 and answer.json()["error"]["code"] == "too_large"
        chunked = client.post(path, content=(b" " * 100_000 for _ in range(50)))
        assert chunked.status_code == 413


def test_traces_say_where_the_time_went():
    from opentelemetry.sdk import trace as sdk
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export import in_memory_span_exporter as export

    provider, spans = sdk.TracerProvider(), export.InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    stages = {"store": 0.001, "embed": 0.002, "total": 0.005}
    tracing.Tracer(provider).record(
        "recommend", headers, stages, {"two_tower.release": "r", "two_tower.fallback": None}
    )
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"store", "embed", "recommend"}
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {trace}
    assert found["embed"].parent.span_id == found["recommend"].context.span_id
    assert found["embed"].end_time - found["embed"].start_time == pytest.approx(2e6, rel=0.01)
    assert found["recommend"].attributes == {"two_tower.release": "r"}


def test_without_a_collector_nothing_is_traced(monkeypatch):
    for name in tracing.CONFIGURED_BY:
        monkeypatch.delenv(name, raising=False)
    assert tracing.tracer() is None


def ask(port, body=b'{"user_id": "ann", "k": 1}'):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/v1/recommend", body)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def answers_from_store(port):
    """Whether a request is answered from the store; pauses if it is not."""
    from_store = ask(port)[1]["fallback"] is None
    if not from_store:
        time.sleep(0.2)
    return from_store


def test_clients_that_go_away_and_a_sigterm_hurt_nobody(releases, tmp_path, feast_repo):
    import shutil

    repo = shutil.copytree(feast_repo, tmp_path / "feast")
    made(releases, tmp_path / "parts", repo)
    with service(releases) as (process, port, log):
        for sent in (
            b"POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
            b"\x16\x03\x01",
            b"GE",
        ):
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(sent)
        whole = b'POST /v1/recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16\r\n\r\n{"user_id":"ann"}'
        for _ in range(20):  # gone before the answer
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(whole)
        assert any(answers_from_store(port) for _ in range(200)), "the store opens late on a busy machine"
        lock = sqlite3.connect(repo / "data" / "online.db", isolation_level=None)
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN EXCLUSIVE")
        answers = []
        waiting = [threading.Thread(target=lambda: answers.append(ask(port))) for _ in range(5)]
        for one in waiting:
            one.start()
        time.sleep(0.1)  # they wait for the store, which hangs
        process.send_signal(signal.SIGTERM)
        for one in waiting:
            one.join()
        lock.close()
        process.wait(timeout=20)
        log = log.read_text()
    assert [(status, said["fallback"]) for status, said in answers] == [(200, "store")] * 5
    assert "Traceback" not in log, log
    assert all(json.loads(line)["level"] for line in log.splitlines())


LONGEST_ADDRESS = 32_768  # bytes, that the HTTP parser takes for certain
CONFORMANCE = ("status_code_conformance", "content_type_conformance", "response_schema_conformance")


def test_the_collector_walks_the_libraries_only_while_nobody_is_served(releases, release):
    with opened(releases) as client:
        assert gc.get_freeze_count() > 100_000 and call(client, "/v1/recommend", {"features": {}, "k": 1})[0] == 200
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("count", [4, pytest.param(400, marks=pytest.mark.slow)])
def test_nothing_in_the_openapi_document_makes_the_service_fail(releases, release, count):
    """Over 12 operations, what the document allows and what it does not: the slow form is some 10,000 cases."""
    import schemathesis
    import schemathesis.specs.openapi.checks as known

    checks = [schemathesis.checks.not_a_server_error, *(getattr(known, name) for name in CONFORMANCE)]
    relaxed = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    modes = schemathesis.GenerationMode
    with service(releases, TWO_TOWER_ADMIN_TOKEN="s3cret") as (_, port, _):
        schema = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json")
        cases = 0
        for result in schema.get_all_operations():
            for mode in (modes.POSITIVE, modes.NEGATIVE):

                @relaxed
                @given(result.ok().as_strategy(generation_mode=mode))
                def check(case):
                    nonlocal cases
                    cases += 1
                    response = case.call(headers=TOKEN)
                    # An address that the HTTP parser refuses never reaches the application, which speaks JSON.
                    if response.status_code != 503 and len(response.request.url) < LONGEST_ADDRESS:
                        case.validate_response(response, checks=checks)

                with suppress(Unsatisfiable):  # an operation without parameters has nothing that is not allowed
                    check()
    assert cases >= 12 * count
