"""A service over releases on an S3 endpoint: moto's server, over HTTP, and the service a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer

from serving.http.background import serve_in_background
from tests.two_tower import parts
from tests.two_tower.deployment.conftest import consistent
from two_tower.config import DeployConfig
from two_tower.deployment import deploy, smoke_test
from two_tower.deployment.questions import Questions
from two_tower.deployment.smoke_test import Address
from two_tower.releases import release

RELEASES = "s3://shop/releases"
QUESTIONS = Questions(users=["u"])  # the releases name no online store: the user gets popular items


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="shop")
    yield
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    server.stop()


@contextmanager
def serving(log, **environment: str):
    """`two-tower serve` on a free port; its address once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipelines", "serve", "--releases", RELEASES, "--port", str(port)]
    command += ["--grpc-port", "0"]  # any that is free
    address = f"http://127.0.0.1:{port}"
    with (
        log.open("w") as file,
        subprocess.Popen(command, env={**os.environ, **environment}, stdout=file, stderr=file) as process,
    ):
        try:
            for _ in range(600):
                try:
                    urllib.request.urlopen(f"{address}/v2/health/ready", timeout=1).read()
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.1)
            yield address
        finally:
            process.terminate()


def made(tmp_path, name: str) -> str:
    return release.publish(RELEASES, [consistent(tmp_path / name, prefix=name)], parts.manifest())


def differences(address: str, made: str, cache) -> list[str]:
    """The reasons of the smoke test of a release at an address."""
    opened = release.open_release(RELEASES, made, cache)
    return smoke_test.run(Address(address), RELEASES, opened, QUESTIONS, slowest_ms=5000)[0]


@pytest.mark.slow
def test_a_deployed_release_is_served_and_the_next_one_without_a_restart(s3, tmp_path) -> None:
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    assert deploy.deploy(first, RELEASES, QUESTIONS, DeployConfig(), serve_in_background).passed
    with serving(tmp_path / "log") as address:
        assert differences(address, first, tmp_path) == []
        deploy.deploy(second, RELEASES, QUESTIONS, DeployConfig(), serve_in_background)
        reasons = ["not asked yet"]
        until = time.monotonic() + 30
        while reasons and time.monotonic() < until:
            reasons = differences(address, second, tmp_path)
        assert reasons == []


@pytest.mark.slow
def test_a_pinned_service_serves_its_release_whatever_is_current(s3, tmp_path) -> None:
    first, second = made(tmp_path, "a"), made(tmp_path, "b")
    release.activate(RELEASES, first)
    with serving(tmp_path / "log", TWO_TOWER_RELEASE=second) as address:
        assert differences(address, second, tmp_path) == []
