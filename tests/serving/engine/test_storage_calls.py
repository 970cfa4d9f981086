"""Calls of a storage that hangs are bounded."""

import asyncio
import threading

import pytest

from serving.engine.storage_calls import StorageCalls
from two_tower.recommender.errors import RequestError


def code(result):
    assert isinstance(result, RequestError) and result.status == 503 and result.retry_after
    return result.code


def test_a_hanging_storage_holds_a_few_calls_for_a_limited_time():
    hangs = threading.Event()
    calls = StorageCalls(threads=1, waiting=2, within=0.2)

    async def flood():
        hanging = await asyncio.gather(*(calls.run(lambda: hangs.wait(30)) for _ in range(5)), return_exceptions=True)
        late = await asyncio.gather(calls.run(lambda: 1), return_exceptions=True)
        hangs.set()
        while len(calls._pending):
            await asyncio.sleep(0.01)
        return hanging, late, await calls.run(lambda: 1)

    hanging, late, after = asyncio.run(flood())
    assert sorted(map(code, hanging)) == ["storage"] * 3 + ["storage_busy"] * 2
    assert code(late[0]) == "storage_busy", "the calls that nobody waits for still take their places"
    assert after == 1


def test_errors_of_the_storage_and_of_the_request_are_told_apart():
    def fails():
        raise OSError("no route to host")

    def refuses():
        raise RequestError(422, "invalid", "m", "h")

    calls = StorageCalls(threads=1, waiting=0, within=5)
    with pytest.raises(RequestError, match="no route to host") as raised:
        asyncio.run(calls.run(fails))
    assert code(raised.value) == "storage"
    with pytest.raises(RequestError) as raised:
        asyncio.run(calls.run(refuses))
    assert raised.value.status == 422


def test_a_call_that_ends_after_the_service_hurts_nobody(caplog):
    hangs = threading.Event()
    calls = StorageCalls(threads=1, waiting=0, within=0.01)
    with pytest.raises(RequestError):
        asyncio.run(calls.run(lambda: hangs.wait(30)))
    (future,) = calls._pending
    hangs.set()
    assert future.result(30) and not caplog.records
