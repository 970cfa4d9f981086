from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from two_tower.config import PullConfig
from two_tower.data import split
from two_tower.errors import InputError

START = datetime(2024, 1, 1, tzinfo=UTC)
HOURS = (np.arange(400) * 3_600 + int(START.timestamp())) * 1_000_000


def at(hour: int) -> datetime:
    return START + timedelta(hours=hour)


def test_bounds_are_the_times_of_the_interactions_at_the_quantiles() -> None:
    bounds = split.bounds(HOURS, PullConfig(index_refreshes=3), at(399))
    assert (bounds.train_end, bounds.validation_end, bounds.as_of) == (at(320), at(360), at(399))
    assert list(bounds.snapshots[:2]) == [at(320), at(360)] and len(bounds.snapshots) == 6
    assert np.unique(split.labels(HOURS, bounds), return_counts=True)[1].tolist() == [40, 320, 40]


def test_given_ends_are_the_bounds_and_windows_may_be_small() -> None:
    bounds = split.bounds(HOURS, PullConfig(), at(399), (at(100), at(397)))
    assert (bounds.train_end, bounds.validation_end) == (at(100), at(397))
    assert (split.labels(HOURS, bounds) == "test").sum() == 3


def test_a_window_with_too_few_interactions_is_named() -> None:
    with pytest.raises(InputError, match=r"the test window has 1 of 400 interactions; at least 20"):
        split.bounds(HOURS, PullConfig(train_fraction=0.5, validation_fraction=0.4999), at(399))
