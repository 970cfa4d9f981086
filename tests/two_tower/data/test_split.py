from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from two_tower.config import PullConfig
from two_tower.data import split
from two_tower.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = (np.arange(400) * 3_600 + int(START.timestamp())) * 1_000_000
CONFIG = PullConfig(train_fraction=0.6, validation_fraction=0.2, index_refreshes=1)


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def micros(hours: list[int]) -> np.ndarray:
    return np.array([int(at(hour).timestamp() * 1e6) for hour in hours])


def test_bounds_are_the_times_of_the_interactions_at_the_quantiles() -> None:
    bounds = split.bounds(HOURS, PullConfig(index_refreshes=3), at(399))
    assert (bounds.train_end, bounds.validation_end, bounds.as_of) == (at(320), at(360), at(399))
    assert list(bounds.snapshots[:2]) == [at(320), at(360)] and len(bounds.snapshots) == 6
    assert np.unique(split.labels(HOURS, bounds), return_counts=True)[1].tolist() == [40, 320, 40]


def test_the_snapshots_divide_the_test_window_evenly() -> None:
    bounds = split.bounds(micros(list(range(100))), CONFIG, at(120))
    assert bounds.snapshots == (at(60), at(80), at(100), at(120)), "one refresh halfway through the test window"


def test_interactions_with_one_timestamp_are_in_one_split() -> None:
    hours = [*range(50), *[50] * 25, *range(51, 100)]  # the quantile 0.6 is inside the 25 equal times
    labels = split.labels(micros(hours), split.bounds(micros(hours), CONFIG, at(100)))
    assert labels[:50].tolist() == ["train"] * 50
    assert labels[50:75].tolist() == ["validation"] * 25


def test_explicit_ends_are_the_bounds_and_splits_may_be_small() -> None:
    bounds = split.bounds(HOURS, PullConfig(), at(399), (at(100), at(397)))
    assert (bounds.train_end, bounds.validation_end) == (at(100), at(397))
    assert (split.labels(HOURS, bounds) == "test").sum() == 3


def test_a_split_with_too_few_interactions_is_an_error() -> None:
    with pytest.raises(InputError, match=r"the test split has 1 of 400 interactions; it needs at least 20"):
        split.bounds(HOURS, PullConfig(train_fraction=0.5, validation_fraction=0.4999), at(399))


def test_a_test_window_of_one_instant_has_one_snapshot() -> None:
    bounds = split.bounds(
        micros([*range(80), *[90] * 60]), PullConfig(train_fraction=0.3, validation_fraction=0.4), at(90)
    )
    assert bounds.snapshots == (bounds.train_end, at(90)), "validation_end and as_of are one instant"
