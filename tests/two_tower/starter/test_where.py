import pyarrow as pa
import pytest

from two_tower.errors import InputError
from two_tower.starter.where import matching

TABLE = pa.table({"n": [1, None, 3], "at": pa.array([0, 1, 2], pa.timestamp("us", tz="UTC"))})


def test_rows_that_match_and_nulls_that_do_not() -> None:
    assert matching("n > 0", TABLE).to_pylist() == [True, False, True]
    assert matching("\"at\" > '1970-01-01'", TABLE).to_pylist() == [False, True, True]


def test_an_invalid_condition_is_named() -> None:
    with pytest.raises(InputError, match=r"(?s)--where .m > 0. is not a valid SQL condition: .*Columns: n, at\."):
        matching("m > 0", TABLE)
