"""Run the service in this process or in its own."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from starlette.testclient import TestClient

import serving
from serving.http.web import create_app

ROOT = Path(serving.__file__).parents[1]
WITHIN = 300  # seconds until the service is open, also on a busy machine


def free_ports():
    """Return the first of two free adjacent ports (HTTP, gRPC) below the range of ephemeral ports."""
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000, 2)
        try:
            with socket.create_server(("127.0.0.1", port)), socket.create_server(("127.0.0.1", port + 1)):
                return port
        except OSError:
            continue


@contextmanager
def opened(releases, *more, **options):
    """Yield a client of the service as on a loopback address, when it has opened its release or found none.

    options: options of `create_app`.
    """
    app = create_app(str(releases), *more, **{"local": True, **options})
    with TestClient(app, base_url="http://localhost") as client:
        wait_until_open(client)
        yield client


def wait_until_open(client):
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        if "being opened" not in client.get("/v2/health/ready").text:
            return
        time.sleep(0.05)
    raise TimeoutError("the release is still being opened")


def wait_until_ready(address, process=None, log=None):
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        try:
            urllib.request.urlopen(f"{address}/v2/health/ready", timeout=5).close()
            return
        except OSError:
            assert process is None or process.poll() is None, log and log.read_text()
            time.sleep(0.2)
    raise TimeoutError(f"{address} is not ready")


@contextmanager
def service(releases, workers=1, **environment):
    """Yield (process, port, log) of a ready service. The log is a file, because a full pipe would block the service."""
    port = free_ports()
    code = (
        "import sys; from serving.http.app import serve; serve(sys.argv[1], '127.0.0.1', int(sys.argv[2]), processes="
    )
    command = [sys.executable, "-c", f"{code}{workers})", str(releases), str(port)]
    with tempfile.NamedTemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stderr=log, env=os.environ | environment)
        try:
            wait_until_ready(f"http://127.0.0.1:{port}", process, Path(log.name))
            yield process, port, Path(log.name)
        finally:
            process.kill()
            process.wait()
