"""Features whose honesty is known."""

import numpy as np
import pytest

from two_tower.checks.leak_tests import future, isolated, own_item, shifted

KEYS = 400


def test_isolated_events_have_no_other_of_their_key_near() -> None:
    key = np.array([0, 0, 0, 0, 1, 1])
    micros = np.array([0, 10, 100, 200, 201, 300])
    assert isolated(key, micros, 1).tolist() == [True] * 6
    assert isolated(key, micros, 20).tolist() == [False, False, True, True, True, True]
    assert isolated(key, micros, 50).tolist() == [False, False, False, False, False, False]


@pytest.mark.parametrize(
    ("earlier", "now", "later", "leaks"),
    [
        ([1] * 40, [1] * 40, [2] * 40, False),  # counted afterwards
        ([1] * 40, [2] * 40, [2] * 40, True),  # counted before
        ([1] * 40, [1] * 40, [1] * 40, False),  # static
        ([1] * 40, [2] * 40, [3] * 40, False),  # always moving: nothing to tell
        ([None] * 40, [2] * 40, [2] * 40, False),  # a first row is no change
        ([1] * 20, [2] * 20, [2] * 20, False),  # too few
        ([[1], [1]] * 20, [[1, 2], [1, 3]] * 20, [[1, 2], [1, 3]] * 20, True),
        ([float("nan")] * 40, [float("nan")] * 40, [1.0] * 40, False),
    ],
)
def test_a_feature_that_has_changed_before_its_event_leaks(earlier, now, later, leaks: bool) -> None:
    assert shifted(earlier, now, later).leaks(0.8) is leaks


def test_a_list_may_hold_an_own_item_only_where_it_was_taken_before() -> None:
    new = np.array([True, True, False, True])
    assert own_item([["a"], ["b", "c"], ["d"], None], ["a", "x", "d", "y"], new) == (0.5, 2)


@pytest.fixture
def counts() -> tuple[np.ndarray, np.ndarray]:
    """Events of each key before and after the middle: from a rate of its own."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 5, KEYS)
    return rng.poisson(rate), rng.poisson(rate)


def test_a_sum_over_all_data_goes_with_the_future_and_a_sum_so_far_does_not(counts) -> None:
    past, following = counts
    given = past[:, None]
    assert future((past + following).astype(float), given, following).leaks(0.7)
    assert not future(past.astype(float), given, following).leaks(0.7)
    assert not future(past * 2.0 + 1, given, following).leaks(0.7)


def test_a_good_hint_is_no_leak_and_neither_is_chance(counts) -> None:
    past, following = counts
    noise = np.random.default_rng(1).normal(0, 1, KEYS)
    hint = following + 12 * noise
    told = future(hint, past[:, None], following)
    assert told.chance < told.correlation < 0.7
    assert not told.leaks(0.7)
    assert not future(noise, past[:, None], following).leaks(0.7)
    assert future(np.full(KEYS, np.nan), past[:, None], following).keys == 0


def test_one_key_across_the_instant_makes_no_leak() -> None:
    """An honest count, but for one user in the middle of a long session; hardly anybody else goes on."""
    rng = np.random.default_rng(0)
    past = rng.integers(1, 200, 4000).astype(np.float64)
    following = np.zeros(4000)
    values = past.copy()
    following[7], values[7] = 300, past[7] - 1
    assert future(values, past[:, None], following).keys == 0
