"""Servers on loopback as processes of their own, which always end with the benchmark."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HOST = "127.0.0.1"


def free_port() -> int:
    """A free port of which the next one is free too (the service takes that for gRPC)."""
    while True:
        with socket.create_server((HOST, 0)) as one:
            port = int(one.getsockname()[1])
            try:
                with socket.create_server((HOST, port + 1)):
                    return port
            except (OSError, OverflowError):
                continue


@contextmanager
def running(
    command: Sequence[str], port: int, ready: str, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once GET `ready` answers 200; its output is in `log`. Ended, with all its children, in any case."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=output,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        try:
            _wait(process, port, ready, log)
            yield process
        finally:
            stop(process)


def service(
    releases: Path, port: int, log: Path, environment: Mapping[str, str] | None = None
) -> Any:  # a context manager of the process
    """Our service, ready."""
    command = [sys.executable, "-m", "pipelines", "serve", "--releases", str(releases), "--port", str(port)]
    return running(command, port, "/v2/health/ready", log, environment)


def stop(process: subprocess.Popen[bytes]) -> None:
    """SIGTERM to the process's own group, and SIGKILL to what is left of it after ten seconds."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def call(
    port: int, method: str, path: str, body: Any = None, token: str = "", timeout: float = 30
) -> tuple[int, bytes]:
    """One request on a connection of its own: status and body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _wait(process: subprocess.Popen[bytes], port: int, ready: str, log: Path, seconds: float = 180) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if call(port, "GET", ready, timeout=5)[0] == 200:
                return
        except (OSError, http.client.HTTPException):
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the server on port {port} did not become ready:\n{log.read_text()[-3000:]}")
