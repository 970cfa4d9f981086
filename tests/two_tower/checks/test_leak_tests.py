"""Features whose honesty is known."""

import numpy as np
import pyarrow as pa
import pytest

from two_tower.checks.behaviour import Behaviour, counts
from two_tower.checks.leak_tests import future, isolated, own_event, own_item, shifted
from two_tower.schema import feature

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
    assert shifted(earlier, now, later, [1] * 40, [1] * 40).leaks(0.8) is leaks


def test_a_list_may_hold_an_own_item_only_where_it_was_taken_before() -> None:
    new = np.array([True, True, False, True])
    assert own_item([["a"], ["b", "c"], ["d"], None], ["a", "x", "d", "y"], new) == (0.5, 2)


def test_a_feature_that_changes_at_midnight_does_not_leak_although_its_events_are_at_midnight_too() -> None:
    assert not shifted([1] * 40, [2] * 40, [2] * 40, [1] * 40, [2] * 40).leaks(0.8)
    assert not shifted([1] * 40, [2] * 40, [2] * 40, [1] * 5, [1] * 5).leaks(0.8), "too few times to compare with"


@pytest.mark.parametrize("labels", [3, 40, 5000])
def test_a_value_that_tells_of_the_own_event_leaks_and_one_that_tells_of_the_event_before_does_not(labels: int) -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, labels, 6001)
    now, previous = label[1:], label[:-1]
    noisy = np.where(rng.random(6000) < 0.8, now, rng.integers(0, labels, 6000))
    assert own_event(now, now, previous).low > 0.4
    assert own_event(noisy, now, previous).low > 0.12
    for honest in (previous, rng.integers(0, 5, 6000), np.arange(6000), np.zeros(6000, dtype=np.int64)):
        assert own_event(honest, now, previous).share < 0.05


def test_a_constant_preference_tells_as_much_of_the_event_before() -> None:
    rng = np.random.default_rng(0)
    taste = np.repeat(np.arange(10), 600)
    now, previous = (np.where(rng.random(6000) < 0.9, taste, rng.integers(0, 10, 6000)) for _ in range(2))
    assert abs(own_event(taste, now, previous).share) < 0.05


NUMBER, VECTOR, CATEGORY = feature("x", "Float64", {}), feature("x", "Array(Float32)", {}), feature("x", "String", {})


@pytest.fixture
def demand() -> tuple[Behaviour, np.ndarray, np.ndarray]:
    """Events of each key before and after the middle: from a rate of its own."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(2, 5, KEYS)
    key = np.concatenate([np.repeat(np.arange(KEYS), rng.poisson(rate)) for _ in range(2)])
    half = len(key) // 2
    behaviour = counts(key, np.arange(len(key)) * 3_600_000_000, KEYS, np.arange(KEYS))
    past, following = (np.bincount(part, minlength=KEYS) for part in (key[:half], key[half:]))
    return behaviour, past, following


def leaks(values: np.ndarray, f, behaviour: Behaviour) -> bool:
    return future(pa.chunked_array([pa.array(values.tolist())]), f, behaviour).leaks


def test_a_total_over_all_data_and_a_label_of_future_demand_leak_and_a_total_so_far_does_not(demand) -> None:
    behaviour, past, following = demand
    assert leaks((past + following).astype(float), NUMBER, behaviour)
    assert leaks(np.where(following > np.median(following), "hot", "cold"), CATEGORY, behaviour)
    for honest in (past.astype(float), past * 2.0 + 1, np.random.default_rng(1).normal(size=KEYS)):
        assert not leaks(honest, NUMBER, behaviour)
    assert not leaks(np.where(past > np.median(past), "hot", "cold"), CATEGORY, behaviour)
    assert not leaks(following + 12 * np.random.default_rng(1).normal(size=KEYS), NUMBER, behaviour), "a good hint"
    assert future(pa.chunked_array([pa.nulls(KEYS, pa.float64())]), NUMBER, behaviour).keys == 0


def preferences(events: int) -> tuple[Behaviour, np.ndarray, np.ndarray, np.ndarray]:
    """Preferences in four dimensions; the past and the future of a key are means of as many noisy events."""
    rng = np.random.default_rng(0)
    constant = rng.normal(size=(KEYS, 4))
    past, following = (constant + rng.normal(size=(KEYS, 4)) * 3 / events**0.5 for _ in range(2))
    controls = np.column_stack([np.ones(KEYS), past])
    return Behaviour(np.arange(KEYS), np.zeros(KEYS, np.int64), past, following, controls), constant, past, following


@pytest.mark.parametrize("events", [2, 20, 200])
def test_means_and_vectors_over_all_data_leak_and_the_true_preference_does_not(events: int) -> None:
    behaviour, constant, past, following = preferences(events)
    rotated = (past + following) @ np.random.default_rng(1).normal(size=(4, 4))
    assert leaks(rotated[:, 0], NUMBER, behaviour)
    assert leaks(rotated.astype(np.float32), VECTOR, behaviour)
    assert not leaks(constant[:, 0], NUMBER, behaviour)
    assert not leaks(constant.astype(np.float32), VECTOR, behaviour)
    assert not leaks(np.where(constant[:, 0] > 0, "a", "b"), CATEGORY, behaviour)
    assert not leaks(past.astype(np.float32), VECTOR, behaviour)


def test_one_key_across_the_instant_makes_no_leak() -> None:
    """An honest count, but for one user in the middle of a long session; hardly anybody else continues."""
    rng = np.random.default_rng(0)
    past = rng.integers(1, 200, 4000).astype(np.float64)
    following, values = np.zeros((4000, 1)), past.copy()
    following[7], values[7] = 300, past[7] - 1
    controls = np.column_stack([np.ones(4000), past])
    behaviour = Behaviour(np.arange(4000), np.zeros(4000, np.int64), past[:, None], following, controls)
    assert future(pa.chunked_array([pa.array(values)]), NUMBER, behaviour).keys == 0
