"""The service as a process."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from serving.http import app, web
from serving.http.app import serve
from serving.observability import feature_log
from serving.workers import supervisor
from tests.serving.making import made
from tests.serving.running import service
from two_tower.deployment import manifests
from two_tower.errors import InputError

ROOT = Path(app.__file__).parents[2]


def python(code, *arguments):
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_what_cannot_be_served_is_said_before_the_port_opens(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="is a file"):
        serve(__file__, "127.0.0.1", 0)
    with pytest.raises(InputError, match=r"no feature_store\.yaml"):
        serve(str(tmp_path), "127.0.0.1", 0, tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InputError, match="cannot listen"):
        serve(str(tmp_path), "127.0.0.1", taken.getsockname()[1])
    monkeypatch.setenv("TWO_TOWER_VERIFY_KEY", __file__)
    with pytest.raises(InputError, match=r"TWO_TOWER_VERIFY_KEY=.* is not an Ed25519 public key"):
        serve(str(tmp_path), "127.0.0.1", 0)


def test_sigterm_ends_the_process_soon_and_cleanly(releases, release):
    with service(releases) as (process, port, log):
        body = b'{"user_id": "u", "k": 1}'
        assert (
            release in urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/recommend", body, timeout=5).read().decode()
        )
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) in (0, -signal.SIGTERM)
        assert time.monotonic() - began < 5 and "Traceback" not in log.read_text(), log.read_text()


def test_the_service_needs_neither_torch_nor_kfp_nor_what_training_reads_with(releases, tmp_path, feast_repo):
    """As in the service's image, where none of these is installed."""
    made(releases, tmp_path / "parts", feast_repo)
    code = """
import sys, time
for name in ("torch", "kfp", "duckdb", "ibis", "great_expectations", "onnxscript"):
    sys.modules[name] = None
from tests.serving.running import opened
with opened(sys.argv[1]) as client:
    for _ in range(200):  # the store opens late on a busy machine
        fallback = client.post("/v1/recommend", json={"user_id": "ann", "k": 2}).json()["fallback"]
        if fallback is None:
            break
        time.sleep(0.2)
    assert fallback is None
"""
    ran = subprocess.run(python(code, releases), cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ)
    assert ran.returncode == 0, ran.stderr


def test_importing_the_service_imports_no_heavy_library():
    heavy = "{'torch', 'kfp', 'feast', 'pandas', 'duckdb'}"
    ran = subprocess.run(
        python(f"import serving.http.app, sys; print({heavy} & set(sys.modules))"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "set()\n"


def test_what_the_service_does_after_sigterm_fits_the_grace_period_of_its_pod():
    ending = app.GRACE + web.GRPC_GRACE + feature_log.LAST_WITHIN
    assert ending < supervisor.ENDING < 10, "`docker stop` kills after 10 s"
    assert manifests.DRAIN + supervisor.ENDING < manifests.GRACE
