from datetime import UTC, datetime, timedelta

import pytest

from two_tower.data.feature_values import same_value

BIG = 2**53
NOW = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (1234567, 1234568, False),
        (BIG, BIG + 1, False),
        ([1234567], [1234568], False),
        (BIG + 1, BIG + 1, True),
        (0.1, 0.10000000149011612, True),  # float64 and float32
        (0.1, 0.2, False),
        (1, 1.0, True),
        (BIG + 1, float(BIG), False),
        (float("nan"), None, True),
        ([], None, True),
        ([0.1, None], [0.10000000149011612, float("nan")], True),
        (["a", "b"], ["b", "a"], False),
        ([1], 1, False),
        (NOW, NOW + timedelta(milliseconds=5), True),
    ],
)
def test_whole_numbers_are_compared_exactly_and_floats_closely(a, b, same):
    assert same_value(a, b) is same
    assert same_value(b, a) is same
