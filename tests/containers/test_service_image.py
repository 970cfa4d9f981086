"""The serving container on what the line released."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.containers.conftest import Done
from two_tower import __version__
from two_tower.datasets import load

pytestmark = pytest.mark.containers
PATIENCE = 60  # seconds until the service must be ready


@dataclass(frozen=True)
class Service:
    url: str
    container: str
    seconds: float  # from `docker run` to ready


@pytest.fixture(scope="module")
def service(line: Done) -> Iterator[Service]:
    port = free_port()
    closed = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    given = ["--env", f"PORT={port}", "--volume", f"{line.out}:{line.out}:ro"]
    command = ["docker", "run", "--detach", "--network", "host", *closed, *given]
    image = f"two-tower-serving:{__version__}"
    started = time.monotonic()
    arguments = ["--releases", str(line.out / "releases")]
    container = subprocess.run([*command, image, *arguments], check=True, capture_output=True, text=True).stdout.strip()
    try:
        wait_until_ready(f"http://127.0.0.1:{port}/v2/health/ready", container)
        yield Service(f"http://127.0.0.1:{port}", container, time.monotonic() - started)
    finally:
        subprocess.run(["docker", "rm", "--force", container], check=True, capture_output=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def wait_until_ready(url: str, container: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    log = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
    raise AssertionError(f"not ready within {PATIENCE} s:\n{log.stdout}{log.stderr}")


def recommended(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(f"{url}/v1/recommend", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_it_answers_with_the_release_and_the_stores_features(
    service: Service, line: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nthe serving container was ready after {service.seconds:.1f} s")
    user = load("sample").interactions["user_id"][0].as_py()
    answer = recommended(service.url, {"user_id": user, "k": 5})
    assert answer["release"] == line.record["release"]
    assert answer["fallback"] is None  # the online store, which a container materialised, knew the user
    assert len(answer["items"]) == 5


def test_a_stranger_gets_popular_items(service: Service) -> None:
    assert recommended(service.url, {"user_id": "nobody", "k": 3})["fallback"] == "popular"


def test_it_runs_as_nobody_in_particular(service: Service) -> None:
    command = ["docker", "exec", service.container, "sh", "-c", "id -u; touch /opt/x"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "10001"
    assert "Read-only file system" in done.stderr


def test_the_engine_calls_it_healthy(service: Service) -> None:
    until = time.monotonic() + PATIENCE
    health = ["docker", "inspect", "--format", "{{.State.Health.Status}}", service.container]
    while (said := subprocess.run(health, capture_output=True, text=True).stdout.strip()) == "starting":
        assert time.monotonic() < until
        time.sleep(1)
    assert said == "healthy"


def test_it_stops_when_asked(service: Service) -> None:
    subprocess.run(["docker", "stop", "--time", "20", service.container], check=True, capture_output=True)
    state = ["docker", "inspect", "--format", "{{.State.ExitCode}}", service.container]
    assert subprocess.run(state, check=True, capture_output=True, text=True).stdout.strip() == "0"
