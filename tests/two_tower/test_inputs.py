from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from two_tower.errors import InputError
from two_tower.inputs import inputs_from_rows, table_from_rows, to_inputs
from two_tower.schema import MISSING_INT, feature

FEATURES = (
    feature("city", "String", {}),
    feature("visits", "Int64", {}),
    feature("price", "Float64", {}),
    feature("member", "Bool", {}),
    feature("joined", "UnixTimestamp", {}),
    feature("tags", "Array(String)", {"max_length": "2"}),
    feature("bought", "Array(Int64)", {}),
    feature("picture", "Array(Float32)", {}),
)
FULL = {
    "city": "Bern",
    "visits": 3,
    "price": 1.5,
    "member": True,
    "joined": datetime(1970, 1, 2, tzinfo=UTC),
    "tags": ["a", "b", "c"],
    "bought": [7],
    "picture": [0.5, 1.0],
}


def test_values_and_what_is_missing() -> None:
    inputs = to_inputs(table_from_rows([FULL, {}], FEATURES), FEATURES, np.array([100, 200]))
    assert list(inputs) == [f.name for f in FEATURES] + ["event_time"]
    assert inputs["city"].tolist() == ["Bern", ""]
    assert inputs["visits"].tolist() == [3, MISSING_INT]
    assert inputs["price"].dtype == np.float32
    np.testing.assert_array_equal(inputs["price"], [1.5, np.nan])
    assert inputs["member"].tolist() == [1, MISSING_INT]
    assert inputs["joined"].tolist() == [86_400, MISSING_INT]
    assert inputs["tags"].tolist() == [["b", "c"], ["", ""]]  # the newest two
    assert inputs["bought"].tolist() == [[7], [MISSING_INT]]
    np.testing.assert_array_equal(inputs["picture"], np.array([[0.5, 1.0], [np.nan, np.nan]], dtype=np.float32))
    assert inputs["event_time"].tolist() == [100, 200]


def test_lists_of_different_lengths_keep_their_own_elements() -> None:
    f = (feature("bought", "Array(Int64)", {"max_length": "3"}),)
    rows = [{"bought": [1]}, {"bought": []}, {"bought": [2, 3, 4, 5]}, {"bought": None}, {"bought": [6, None]}]
    x = MISSING_INT
    assert to_inputs(table_from_rows(rows, f), f)["bought"].tolist() == [
        [1, x, x],
        [x, x, x],
        [3, 4, 5],
        [x, x, x],
        [6, x, x],
    ]


def test_no_list_at_all_still_has_one_place() -> None:
    f = (feature("tags", "Array(String)", {}),)
    assert to_inputs(table_from_rows([{}], f), f)["tags"].tolist() == [[""]]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("city", 5),
        ("visits", "three"),
        ("visits", 1.5),
        ("visits", True),
        ("visits", 2**70),
        ("price", True),
        ("price", 10**400),
        ("member", 1),
        ("joined", 5),
        ("tags", "a"),
        ("bought", [1.5]),
        ("bought", {1: 2}),
        ("picture", ["x"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named(name: str, value: object) -> None:
    for read in (table_from_rows, inputs_from_rows):
        with pytest.raises(InputError, match=f"'{name}'"):
            read([FULL | {name: value}], FEATURES)


def test_vectors_of_two_widths_are_refused() -> None:
    f = (feature("picture", "Array(Float32)", {}),)
    with pytest.raises(InputError, match=r"'picture' has vectors of widths \[1, 2\]"):
        to_inputs(table_from_rows([{"picture": [1.0]}, {"picture": [1.0, 2.0]}], f), f)
    with pytest.raises(InputError, match=r"'picture' has vectors of widths \[1, 2\]"):
        inputs_from_rows([{"picture": [1.0]}, {"picture": [1.0, 2.0]}], f)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
integers = st.integers(-(2**63), 2**63 - 1)
numbers = st.floats() | st.integers(-(2**70), 2**70)
VALUES = {
    "city": texts,
    "visits": integers,
    "price": numbers,
    "member": st.booleans(),
    "joined": st.datetimes() | st.datetimes(timezones=st.timezones()),
    "tags": st.lists(st.none() | texts, max_size=4),
    "bought": st.lists(st.none() | integers, max_size=60),
    "picture": st.just([]) | st.lists(st.none() | numbers, min_size=2, max_size=2),
}
rows = st.lists(st.fixed_dictionaries({}, optional={n: st.none() | v for n, v in VALUES.items()}), max_size=4)


@settings(deadline=None)
@given(rows)
def test_rows_become_the_same_arrays_with_and_without_arrow(rows: list[dict[str, object]]) -> None:
    seconds = np.arange(len(rows))
    slow = to_inputs(table_from_rows(rows, FEATURES), FEATURES, seconds)
    lean = inputs_from_rows(rows, FEATURES, seconds)
    assert list(lean) == list(slow)
    for name, expected in slow.items():
        assert lean[name].dtype == expected.dtype and lean[name].flags.c_contiguous
        np.testing.assert_array_equal(lean[name], expected)
