import threading

import pytest

from two_tower.training.streaming.prefetch import prefetch


def test_results_come_in_order_and_the_next_is_made_meanwhile():
    begun = [threading.Event() for _ in range(4)]

    def task(number: int):
        return lambda: begun[number].set() or number

    results = prefetch(task(number) for number in range(4))
    for number in range(3):
        assert next(results) == number
        assert begun[number + 1].wait(10)  # while we hold this one
    assert list(results) == [3] and list(prefetch([])) == []


def test_what_a_task_raises_is_raised_where_its_result_is_asked_for():
    results = prefetch([lambda: 1, lambda: 1 // 0])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
