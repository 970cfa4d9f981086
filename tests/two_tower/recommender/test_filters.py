"""Filters as masks over the items."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from two_tower.inputs import ARROW_TYPES
from two_tower.recommender.errors import RequestError
from two_tower.recommender.filters import Columns, parse
from two_tower.schema import Contract, Dtype, feature

DAY = datetime(2024, 1, 1, tzinfo=UTC)
CONTRACT = Contract(
    user_key="user",
    user_key_dtype=Dtype.STRING,
    item_key="item",
    item_key_dtype=Dtype.INT64,
    user=(feature("city", "String", {}),),
    item=(
        feature("genre", "Array(String)", {}),
        feature("maker", "String", {}),
        feature("price", "Float32", {}),
        feature("year", "Int64", {}),
        feature("used", "Bool", {}),
        feature("added", "UnixTimestamp", {}),
        feature("image", "Array(Float32)", {}),
    ),
)
ROWS = [
    {"genre": ["Drama", "War"], "maker": "a", "price": 0.1, "year": 1999, "used": True, "added": DAY},
    {"genre": ["Drama"], "maker": "b", "price": 20.0, "year": 2001, "used": False, "added": DAY + timedelta(1)},
    {"genre": [], "maker": "", "price": math.nan, "year": -1, "used": None, "added": None},
    {"genre": None, "maker": None, "price": None, "year": None, "used": None, "added": None},
]


def table():
    columns = {f.name: pa.array([r.get(f.name) for r in ROWS], ARROW_TYPES[f.dtype]) for f in CONTRACT.item}
    return pa.table({**columns, "item": pa.array([0, 1, 2, 3]), "popularity": pa.array([4.0, 3.0, 2.0, 1.0])})


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        ({}, [0, 1, 2, 3]),
        ({"genre": ["Drama"]}, [0, 1]),
        ({"genre": ["War", "nothing"]}, [0]),
        ({"maker": ["a", "b"], "price": {"max": 20}}, [0, 1]),
        ({"maker": ""}, [2]),
        ({"price": 0.1}, [0]),
        ({"price": {"min": 0.1, "max": 0.1}}, [0]),
        ({"price": {"min": -1e30}}, [0, 1]),
        ({"year": {"min": 1999.5}}, [1]),
        ({"year": {"max": 2**70}}, [0, 1, 2]),
        ({"year": -1}, [2]),
        ({"used": False}, [1]),
        ({"added": {"min": "2024-01-02"}}, [1]),
        ({"added": "2024-01-01T00:00:00+00:00"}, [0]),
        ({"item": [1, 3]}, [1, 3]),
        ({"popularity": {"min": 2, "max": 3}}, [1, 2]),
        ({"maker": "a", "used": False}, []),
    ],
)
def test_what_a_filter_leaves(wanted, rows):
    assert np.flatnonzero(Columns(table()).mask(parse(wanted, CONTRACT))).tolist() == rows


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ([], "filter is"),
        ({"gendre": ["Drama"]}, "Did you mean 'genre'"),
        ({"image": [1.0]}, "unknown column"),
        ({"genre": []}, "1 to 1000 values"),
        ({"genre": ["x"] * 1001}, "1 to 1000 values"),
        ({"genre": [5]}, "takes a string"),
        ({"genre": {"min": "a"}}, "value or a list"),
        ({"price": {"maxx": 1}}, "min"),
        ({"price": {}}, "min"),
        ({"price": {"max": "20"}}, "max of filter 'price'"),
        ({"year": 1.5}, "whole number"),
        ({"year": {"min": True}}, "min of filter 'year'"),
        ({"added": {"min": "yesterday"}}, "ISO 8601"),
    ],
)
def test_bad_filters_are_refused_by_name(wanted, says):
    with pytest.raises(RequestError, match=says) as refused:
        parse(wanted, CONTRACT)
    assert refused.value.status == 422


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-3, 3), max_size=8), st.lists(st.integers(-4, 4), min_size=1, max_size=3))
def test_masks_say_what_plain_python_says(column, values):
    columns = Columns(pa.table({"year": pa.array(column, pa.int64())}))
    assert columns.mask(parse({"year": values}, CONTRACT)).tolist() == [v in values for v in column]
    low, high = min(values), max(values)
    ranged = columns.mask(parse({"year": {"min": low, "max": high}}, CONTRACT)).tolist()
    assert ranged == [v is not None and low <= v <= high for v in column]
