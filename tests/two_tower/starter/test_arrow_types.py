import uuid
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from two_tower.starter.arrow_types import plain

NAN = float("nan")
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("array", "type_", "values"),
    [
        (pa.array(np.float16([0.5, 2])), "float", [0.5, 2.0]),
        (pa.array([Decimal(1), None], pa.decimal128(38, 0)), "int64", [1, None]),
        (pa.array([Decimal("1.50")]), "double", [1.5]),
        (pa.array([Decimal("12345678901234567890123")]), "string", ["12345678901234567890123"]),
        (pa.array([2**63 + 1, 1], pa.uint64()), "string", ["9223372036854775809", "1"]),
        (pa.array([1, None], pa.uint64()), "int64", [1, None]),
        (pa.array([b"a", None]), "string", ["a", None]),
        (pa.array([b"\xff"]), "binary", [b"\xff"]),
        (pa.array(["a", None, "a"]).dictionary_encode(), "string", ["a", None, "a"]),
        (pa.array([7, 8]).dictionary_encode(), "int64", [7, 8]),
        (pa.array([None, None]), "string", [None, None]),
        (pa.array([ID.bytes, None], pa.uuid()), "string", [str(ID), None]),
        (pa.array([[1, None], None, []]), "list<item: int64>", [[1], None, []]),
        (pa.array([["a"], ["b", None]], pa.list_view(pa.string_view())), "list<item: string>", [["a"], ["b"]]),
        (pa.array([[0.5, None], [1, NAN], [1, 2]]), "list<item: double>", [None, None, [1.0, 2.0]]),
        (pa.array([[1, 2], None], pa.list_(pa.float16(), 2)), "list<item: float>", [[1.0, 2.0], None]),
        (pa.array([[1], [2]]).slice(1), "list<item: int64>", [[2]]),
        (pa.array([True]), "bool", [True]),
    ],
)
def test_a_column_of_any_type(array: pa.Array, type_: str, values: list) -> None:
    column = plain(pa.chunked_array([array]))
    assert (str(column.type), column.to_pylist()) == (type_, values)
