from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from two_tower.recommender.errors import RequestError
from two_tower.recommender.values import feature_value, key_value, scalar_value
from two_tower.schema import Dtype, feature

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        ("Int64", -(2**63), -(2**63)),
        ("Float32", 3, 3.0),
        ("Bool", False, False),
        ("UnixTimestamp", "2024-01-01T13:00:00+01:00", NOON),
        ("UnixTimestamp", "2024-01-01T12:00:00", NOON),
        ("UnixTimestamp", 1_704_110_400, NOON),
        ("UnixTimestamp", NOON, NOON),
        ("Array(String)", ["a", None], ["a"]),
        ("Array(Int64)", [], []),
        ("String", None, None),
    ],
)
def test_values_become_those_of_the_feature_store(dtype: str, value: object, expected: object) -> None:
    assert feature_value(feature("f", dtype, {}), value) == expected


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("Int64", 1.0),
        ("Int64", True),
        ("Int64", 2**63),
        ("Float32", 1e39),
        ("Float32", "1"),
        ("Bool", 1),
        ("String", 1),
        ("UnixTimestamp", -1),
        ("UnixTimestamp", True),
        ("UnixTimestamp", "noon"),
        ("Array(Float32)", [1.0, None]),
        ("Array(String)", "a"),
    ],
)
def test_values_of_other_types_are_refused_by_name(dtype: str, value: object) -> None:
    with pytest.raises(RequestError, match="feature 'f'") as refused:
        feature_value(feature("f", dtype, {}), value)
    assert refused.value.status == 422


def test_an_integer_key_may_be_digits() -> None:
    assert key_value("user_id", "-42", Dtype.INT64) == -42 and key_value("user_id", "42", Dtype.STRING) == "42"
    for value in ("4.2", "", "1" * 20, 4.2):
        with pytest.raises(RequestError, match="user_id is"):
            key_value("user_id", value, Dtype.INT64)


@given(st.floats(allow_nan=True))
def test_a_float_is_taken_exactly_where_float32_can_hold_it(value: float) -> None:
    if abs(value) <= 3.4028234663852886e38:
        assert scalar_value("x", value, Dtype.FLOAT64) == value
    else:
        with pytest.raises(RequestError):
            scalar_value("x", value, Dtype.FLOAT64)
