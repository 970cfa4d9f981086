"""Micro-batches: together where they come together, at once where they do not."""

import asyncio
import threading

import pytest

from serving.engine.batching import Batcher


def batches_of(run, queries, **options):
    sizes = []
    batcher = Batcher(run, observe=sizes.append, **{"max_batch": 4, "threaded": False} | options)

    async def ask():
        return await asyncio.gather(*(batcher(query) for query in queries), return_exceptions=True)

    return asyncio.run(ask()), sizes


def test_what_comes_together_runs_together_and_each_gets_its_own_answer():
    assert batches_of(lambda qs: [q * 2 for q in qs], range(6)) == ([0, 2, 4, 6, 8, 10], [4, 2])


def test_one_alone_runs_at_once():
    async def ask():
        batcher = Batcher(list, max_batch=4, threaded=False)
        return await asyncio.wait_for(batcher(7), 0.5)

    assert asyncio.run(ask()) == 7


@pytest.mark.parametrize("threaded", [False, True])
def test_a_fault_of_one_is_its_own_and_a_fault_of_the_call_everybodys(threaded):
    bad = ValueError("bad")
    assert batches_of(lambda qs: [bad if q == 1 else q for q in qs], range(3), threaded=threaded)[0] == [0, bad, 2]

    def fails(_):
        raise bad

    assert batches_of(fails, range(3), threaded=threaded)[0] == [bad, bad, bad]


def test_while_a_call_runs_on_its_thread_the_others_gather_and_the_loop_goes_on():
    go, sizes = threading.Event(), []

    def run(queries):
        assert go.wait(5)
        return queries

    async def ask():
        batcher = Batcher(run, max_batch=8, threaded=True, observe=sizes.append)
        first = asyncio.create_task(batcher(0))
        await asyncio.sleep(0.01)
        others = [asyncio.create_task(batcher(q)) for q in range(1, 5)]
        given_up = asyncio.create_task(batcher(9))
        await asyncio.sleep(0.01)
        given_up.cancel()
        go.set()
        return await asyncio.gather(first, *others)

    assert asyncio.run(ask()) == [0, 1, 2, 3, 4]
    assert sizes == [1, 4]
