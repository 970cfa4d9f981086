"""Run the service in its own process."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import serving

ROOT = Path(serving.__file__).parents[1]


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
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).close()
                    break
                except (OSError, urllib.error.URLError):
                    assert process.poll() is None, Path(log.name).read_text()
                    time.sleep(0.05)
            yield process, port, Path(log.name)
        finally:
            process.kill()
            process.wait()
