import numpy as np
import pyarrow as pa
import pytest

from two_tower.schema import feature
from two_tower.statistics import distribution
from two_tower.statistics.distribution import psi, shares


def test_psi_of_known_shares():
    assert psi([0.5, 0.5], [0.5, 0.5]) == 0
    assert psi([0.5, 0.5], [0.75, 0.25]) == pytest.approx(0.25 * np.log(1.5) - 0.25 * np.log(0.5))
    assert psi([1, 0], [0, 1]) > 18  # an empty bin is no division by zero


def test_numbers_are_described_by_quantile_bins_that_ties_do_not_split():
    f = feature("price", "Float32", {})
    column = pa.chunked_array([pa.array([1.0] * 50 + list(range(2, 52)), pa.float32())])
    before = distribution.feature(column, f, np.zeros(100, np.int64))
    assert (
        before["least"] == 1
        and before["greatest"] == 51
        and before["most_frequent"] == 0.5
        and before["distinct"] == 51
    )
    assert sum(before["shares"]) == pytest.approx(1) and len(before["shares"]) == len(before["edges"]) + 1
    hundredfold = pa.chunked_array([pa.array(np.array(column) * 100, pa.float32())])
    now = distribution.feature(hundredfold, f, np.zeros(100, np.int64), before)
    assert now["psi"] > 1 and now["outside"] == pytest.approx(1)


def test_values_that_are_new_gone_garbled_or_none():
    f = feature("country", "String", {})
    before = distribution.feature(pa.chunked_array([["a"] * 60 + ["b"] * 40]), f, np.zeros(100, np.int64))
    now = distribution.feature(pa.chunked_array([["a"] * 60 + ["c"] * 38 + ["nan", "Ã©"]]), f, np.zeros(100), before)
    assert (now["new"], now["lost"]) == (pytest.approx(0.4), pytest.approx(0.4))
    assert (now["garbled"], now["no_value"]) == (0.01, 0.01)


def test_shares_of_bins_that_are_closed_on_the_left():
    assert shares(np.array([0.0, 1.0, 1.5, 2.0, 9.0]), [1.0, 2.0]).tolist() == [0.2, 0.4, 0.4]


@pytest.mark.parametrize("days_later", [1, 7])
@pytest.mark.parametrize("follows_clock", [True, False])
def test_ages_that_grow_with_the_clock_or_stay_the_same_have_not_drifted(days_later: int, *, follows_clock: bool):
    f, day = feature("first_seen", "UnixTimestamp", {}), 86_400
    now = 1_700_000_000
    stamps = now - np.random.default_rng(0).integers(50 * day, 51 * day, 200)

    def described(times: np.ndarray, at: int, before: dict | None = None) -> dict:
        column = pa.chunked_array([pa.array(times * 1_000_000).cast(pa.timestamp("us", tz="UTC"))])
        return distribution.feature(column, f, np.full(len(times), at), before)

    before, later = described(stamps, now), now + days_later * day
    unchanged = described(stamps if follows_clock else stamps + days_later * day, later, before)
    assert unchanged["psi"] < 0.01 and unchanged["outside"] == 0
    assert described(stamps // 1000, later, before)["psi"] > 1
