"""Real Redis and PostgreSQL servers on free loopback ports, one process per test.

A test is skipped if the binary is not installed. CI installs the Debian packages redis-server and postgresql.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
import redis

HOST = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@dataclass
class Redis:
    port: int
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    @property
    def client(self) -> redis.Redis:
        return redis.Redis(HOST, self.port)


@contextmanager
def running_redis(folder: Path, port: int | None = None) -> Iterator[Redis]:
    """Run a redis-server that persists its data in `folder`; a later server in the same folder has the same data."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (Debian package redis-server)")
    folder.mkdir(exist_ok=True)
    port = port or free_port()
    command = ["redis-server", "--bind", HOST, "--port", str(port), "--dir", str(folder), "--logfile", "redis.log"]
    started = Redis(port, subprocess.Popen([*command, "--appendonly", "yes", "--appendfsync", "always", "--save", ""]))
    try:
        _wait(lambda: started.client.ping(), redis.exceptions.RedisError)
        yield started
    finally:
        started.kill()


@contextmanager
def running_postgres() -> Iterator[int]:
    """Run a PostgreSQL server with database and user `postgres`, and yield its port; delete its files at the end."""
    initdb = shutil.which("initdb") or next(map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if initdb is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    programs = Path(initdb).resolve().parent
    user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
    port = free_port()
    with tempfile.TemporaryDirectory(
        prefix="postgres-"
    ) as folder:  # pytest's temporary folders are readable for root only
        if user:
            shutil.chown(folder, user)
        create = [
            programs / "initdb",
            "-D",
            f"{folder}/data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run(create, user=user, check=True, capture_output=True, cwd=folder)
        command = [programs / "postgres", "-D", f"{folder}/data", "-h", HOST, "-p", str(port), "-k", folder, "-F"]
        process = subprocess.Popen(command, user=user, cwd=folder, stderr=subprocess.DEVNULL)
        try:
            _wait(lambda: psycopg.connect(url(port)).close(), psycopg.OperationalError)
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown: PostgreSQL closes open connections
            process.wait()


def url(port: int) -> str:
    return f"postgresql://postgres@{HOST}:{port}/postgres"


def _wait(try_it, error: type[Exception]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            try_it()
        except error:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return
