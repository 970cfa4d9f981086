import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from two_tower.errors import InputError
from two_tower.estimator.frames import require, to_arrow, to_ids
from two_tower.schema import Dtype


def test_pandas_keeps_its_columns_without_the_index() -> None:
    frame = pd.DataFrame({"u": [1, 2], 3: ["a", None]}, index=[7, 9])
    assert to_arrow("users", frame).to_pydict() == {"u": [1, 2], "3": ["a", None]}


def test_wide_and_view_types_become_those_of_the_library() -> None:
    columns = {
        "large": pa.array(["a"], pa.large_string()),
        "view": pa.array(["b"], pa.string_view()),
        "list": pa.array([["c"]], pa.large_list(pa.large_string())),
        "numbers": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
    }
    table = to_arrow("items", pa.table(columns))
    assert [str(t) for t in table.schema.types][:2] == ["string", "string"]
    assert table.schema.field("list").type == pa.list_(pa.string())
    assert table.schema.field("numbers").type == pa.list_(pa.float32())
    assert table.to_pydict() == {"large": ["a"], "view": ["b"], "list": [["c"]], "numbers": [[1.0, 2.0]]}


def test_any_table_of_the_arrow_capsule_interface_is_read() -> None:
    class Table:
        columns = ("u",)

        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.table({"u": [1, 2]}).__arrow_c_stream__(requested_schema)

    assert to_arrow("users", Table()).to_pydict() == {"u": [1, 2]}


def test_polars_frames_are_read() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"u": ["a", "b"], "tags": [["x"], []], "kind": polars.Series(["k", "l"])})
    assert to_arrow("users", frame).to_pydict() == {"u": ["a", "b"], "tags": [["x"], []], "kind": ["k", "l"]}
    assert to_ids("users", frame["u"], Dtype.STRING, "u") == ["a", "b"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([(1, 2)], "users is of type list. Pass a pandas, polars or Arrow table"),
        (pd.DataFrame({"u": []}), "users has no rows"),
        (pd.DataFrame([[1, 2, 3]], columns=["u", "v", "u"]), r"users has the column 'u' 2 times. Rename or drop one"),
        (pa.table([[1], [2]], names=["u", "u"]), r"users has the column 'u' 2 times"),
        (pd.DataFrame({"u": [1, "a"]}), "users cannot be read as an Arrow table: .*column u"),
    ],
)
def test_what_is_not_a_usable_table_is_named(frame: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_arrow("users", frame)


@pytest.mark.parametrize(
    "values", [3, [3], (3,), np.array([3]), pd.Series([3]), pa.array([3]), pa.chunked_array([[3]]), np.int32(3)]
)
def test_ids_come_in_any_sequence(values: object) -> None:
    assert to_ids("users", values, Dtype.INT64, "user") == [3]


@pytest.mark.parametrize(
    ("values", "dtype", "message"),
    [
        (["a", 3], Dtype.STRING, r"users\[1\] is 3. The ids of column 'user' are text"),
        ("u1", Dtype.INT64, r"users\[0\] is 'u1'. The ids of column 'user' are whole numbers"),
        (pd.Series([1, None]), Dtype.INT64, r"users\[0\] is 1.0"),
        ([None], Dtype.INT64, r"users\[0\] is None"),
        ([float("nan")], Dtype.STRING, r"users\[0\] is nan"),
        ([True], Dtype.INT64, r"users\[0\] is True"),
    ],
)
def test_an_id_of_another_type_is_named(values: object, dtype: Dtype, message: str) -> None:
    with pytest.raises(InputError, match=message):
        to_ids("users", values, dtype, "user")


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(InputError, match="pairs has no column 'item_id'; it has user_id, itemid"):
        require("pairs", pa.table({"user_id": [1], "itemid": [2]}), ["user_id", "item_id"])
