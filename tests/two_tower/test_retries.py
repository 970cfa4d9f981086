import errno
import sqlite3
import threading
import time

import aiohttp
import botocore.exceptions
import psycopg
import pytest
import redis
from moto.server import ThreadedMotoServer

from tests.servers import free_port
from tests.two_tower.s3 import BUCKET, forget_connections, running_s3
from two_tower.errors import GateHeldError, InputError, StorageError
from two_tower.retries import RETRY_SECONDS, is_lost_connection, retried
from two_tower.storage import open_storage


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        redis.exceptions.ConnectionError("Error 111 connecting to redis:6379. Connection refused."),
        redis.exceptions.TimeoutError("Timeout reading from socket"),
        redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        psycopg.OperationalError("connection failed: Connection refused"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://minio:9000"),
        botocore.exceptions.ConnectionClosedError(endpoint_url="http://minio:9000"),
        aiohttp.ServerDisconnectedError(),
        OSError(errno.EBUSY, "Please reduce your request rate."),
        caused(StorageError("s3://b cannot be reached"), ConnectionRefusedError()),
        caused(InputError("the store cannot be reached"), redis.exceptions.ConnectionError("refused")),
    ],
    ids=repr,
)
def test_a_lost_connection_is_tried_again(error: Exception) -> None:
    assert is_lost_connection(error)


@pytest.mark.parametrize(
    "error",
    [
        InputError("column 'user' is missing"),
        GateHeldError("recall is too low"),
        FileNotFoundError("s3://b/file"),
        PermissionError("Forbidden"),
        redis.exceptions.AuthenticationError("invalid username-password pair"),
        psycopg.OperationalError('FATAL: password authentication failed for user "feast"'),
        psycopg.OperationalError('FATAL: database "feast" does not exist'),
        sqlite3.OperationalError("no such table: feature_views"),
        botocore.exceptions.NoCredentialsError(),
        caused(StorageError("s3://b cannot be reached"), PermissionError("Access Denied")),
        AssertionError(),
    ],
    ids=repr,
)
def test_an_error_that_would_come_again_is_not(error: Exception) -> None:
    assert not is_lost_connection(error)


def failing(times: int) -> tuple[list[int], object]:
    calls: list[int] = []

    def function() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise ConnectionResetError("peer")
        return "done"

    return calls, function


def test_it_is_bounded_and_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("two_tower.retries._PAUSES", (0, 0))
    monkeypatch.setenv(RETRY_SECONDS, "60")
    calls, function = failing(3)
    assert retried(function)() == "done" and len(calls) == 4
    assert capsys.readouterr().err.count("the connection to a store was lost; trying again in 0 s: peer") == 3
    for seconds in ("", "0"):
        monkeypatch.setenv(RETRY_SECONDS, seconds)
        monkeypatch.setattr("two_tower.retries._PAUSES", (1,))
        calls, function = failing(1)
        with pytest.raises(ConnectionResetError):
            retried(function)()
        assert len(calls) == 1


def test_the_caller_of_what_was_given_up_does_not_begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RETRY_SECONDS, "0.5")
    monkeypatch.setattr("two_tower.retries._PAUSES", (0.4,))
    calls, function = failing(99)
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):
        retried(retried(function))()
    assert len(calls) == 2 and time.monotonic() - began < 0.9


def test_a_step_waits_for_a_store_that_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    with running_s3(monkeypatch, port=port):
        open_storage(f"s3://{BUCKET}/releases").write_file("current", b"one")
    monkeypatch.setenv(RETRY_SECONDS, "30")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    threading.Timer(0.5, server.start).start()
    try:
        assert open_storage(f"s3://{BUCKET}/releases").read("current") == b"one"
    finally:
        forget_connections()
        server.stop()
