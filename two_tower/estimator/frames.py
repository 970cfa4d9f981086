"""Convert tables of pandas, polars, Arrow and other libraries to Arrow."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

from two_tower.errors import InputError
from two_tower.schema import Dtype
from two_tower.starter.arrow_types import plain

Frame = Any  # a pandas, polars or Arrow table
_KINDS = {Dtype.STRING: (str, "text"), Dtype.INT64: (int, "whole numbers")}


def is_frame(value: Any) -> bool:
    """Whether a value is a table, as opposed to a sequence of ids."""
    return hasattr(value, "columns")


def to_arrow(name: str, frame: Any) -> pa.Table:
    """Convert a table to Arrow.

    Args:
        name: Name of the table in error messages.
        frame: pandas data frame, Arrow table, or any table with `__arrow_c_stream__` (polars, DuckDB, …). The index of
            a pandas data frame is left out.

    Raises:
        InputError: `frame` is not a table, has no rows or has a column twice, or a column mixes types.
    """
    if not is_frame(frame):
        raise InputError(f"{name} is of type {type(frame).__name__}. Pass a pandas, polars or Arrow table.")
    names = list(map(str, getattr(frame, "column_names", frame.columns)))
    repeated = [column for column, count in Counter(names).items() if count > 1]
    if repeated:
        raise InputError(f"{name} has the column {repeated[0]!r} {names.count(repeated[0])} times. Rename or drop one.")
    try:
        table = _table(frame)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"{name} cannot be read as an Arrow table: {error}. Give each column one type.") from error
    if table.num_rows == 0:
        raise InputError(f"{name} has no rows. Pass at least one row.")
    return pa.table({column: plain(table[column]) for column in names})


def _table(frame: Any) -> pa.Table:
    if type(frame).__module__.startswith("pandas."):
        return pa.Table.from_pandas(frame.rename(columns=str), preserve_index=False)
    return pa.table(frame)


def to_ids(name: str, values: Any, dtype: Dtype, column: str) -> list[Any]:
    """Convert ids to Python values.

    Args:
        name: Name of the ids in error messages.
        values: One id, or a list, array or series of ids.
        dtype: String or Int64.
        column: The column of these ids in the interactions.

    Raises:
        InputError: An id is missing or has the wrong type.
    """
    listed = [values] if isinstance(values, str | int | np.generic) or not isinstance(values, Iterable) else values
    ids = [value.as_py() if isinstance(value, pa.Scalar) else value for value in listed]
    ids = [value.item() if isinstance(value, np.generic) else value for value in ids]
    type_, words = _KINDS[dtype]
    for place, value in enumerate(ids):
        if type(value) is not type_:
            raise InputError(f"{name}[{place}] is {value!r:.60}. The ids of column {column!r} are {words}.")
    return ids


def require(name: str, table: pa.Table, columns: Iterable[str]) -> None:
    """Raise InputError unless a table has all columns."""
    for column in columns:
        if column not in table.column_names:
            raise InputError(
                f"{name} has no column {column!r}; it has {', '.join(table.column_names)}. Add the column."
            )
