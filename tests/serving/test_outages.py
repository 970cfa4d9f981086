"""The service while its storage hangs: at its start, and while it serves."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from serving.engine import release_manager
from serving.http.web import create_app
from tests.serving.running import ROOT, free_ports, opened, wait_until_open
from two_tower.recommender.side_index import SideIndex

SOON = 10  # seconds, on a busy machine


def test_it_lives_while_its_release_is_being_opened(releases, release, monkeypatch):
    may_read = threading.Event()
    current = release_manager.published.current
    monkeypatch.setattr(release_manager.published, "current", lambda where: may_read.wait(60) and current(where))
    with TestClient(create_app(str(releases), local=True), base_url="http://localhost") as client:
        assert client.get("/v2/health/live").status_code == 200
        ready = client.get("/v2/health/ready")
        assert ready.status_code == 503 and "being opened" in ready.text
        assert client.post("/v1/recommend", json={"user_id": "u"}).json()["error"]["code"] == "not_ready"
        assert client.get("/metrics").status_code == 200
        may_read.set()
        wait_until_open(client)
        assert client.get("/v2/health/ready").json()["release"] == release


def test_changes_on_a_storage_that_hangs_hold_up_nothing_else(releases, release, monkeypatch):
    monkeypatch.setenv("TWO_TOWER_ADMIN_TOKEN", "s3cret")
    hangs = threading.Event()
    monkeypatch.setattr(SideIndex, "upsert", lambda *_: hangs.wait(60))
    item = {"items": [{"item_id": "new", "features": {}}]}
    with opened(releases) as client, ThreadPoolExecutor(40) as pool:
        upserts = [pool.submit(client.post, "/v1/items", json=item) for _ in range(30)]
        while sum(one.done() for one in upserts) < 20:
            time.sleep(0.01)
        began = time.monotonic()
        features = {"group": "a", "recent": ["i1"]}
        assert client.post("/v1/recommend", json={"features": features, "explain": True}).status_code == 200
        assert client.post("/v1/similar", json={"item_id": "i1"}).status_code == 200
        assert client.get("/metrics").status_code == 200
        assert client.get("/page/releases").status_code == 200
        activate = {"release": release}
        admin = client.post("/admin/activate", json=activate, headers={"Authorization": "Bearer s3cret"})
        assert admin.status_code == 200
        assert time.monotonic() - began < SOON
        hangs.set()
        answers = [one.result() for one in upserts]
    assert sorted(answer.status_code for answer in answers) == [200] * 10 + [503] * 20
    assert all(answer.headers["Retry-After"] for answer in answers if answer.status_code == 503)


@pytest.mark.slow
def test_a_bucket_that_never_answers_leaves_it_live_and_a_sigterm_ends_it():
    port = free_ports()
    command = [sys.executable, "-m", "pipelines", "serve", "--releases", "s3://shop/releases", "--port", str(port)]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **keys, "AWS_ENDPOINT_URL": endpoint})
        try:
            until = time.monotonic() + 100
            while not alive(port):
                assert process.poll() is None and time.monotonic() < until
                time.sleep(0.1)
            with pytest.raises(urllib.error.HTTPError, match="503"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=SOON)
            process.send_signal(signal.SIGTERM)
            assert process.wait(SOON) in (0, -signal.SIGTERM)
        finally:
            process.kill()
            process.wait()


def alive(port):
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/live", timeout=SOON).status == 200
    except OSError:
        return False
