"""Pulled tables as the data frames that expectations are run on."""

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import Pulled

ROW = "two_tower_row"  # the row's number, by which a failed expectation points at it
ABSENT = "absent"
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}


def finite_column(name: str) -> str:
    """The checked column that says whether each vector of a feature is finite."""
    return f"{name} (finite)"


def unlisted_column(item_key: str) -> str:
    """The checked column that holds an interaction's item where the last catalogue lacks it."""
    return f"{item_key} (not in the catalogue)"


def type_row(table: pa.Table, suite: gx.ExpectationSuite) -> pd.DataFrame:
    """One row: the type of each column that the suite asks for, by the column's name."""
    found = dict(zip(table.schema.names, map(_type_name, table.schema.types), strict=True))
    columns = [e.column for e in suite.expectations]
    return pd.DataFrame([{name: found.get(name, ABSENT) for name in columns} | {ROW: 0}])


def _type_name(kind: pa.DataType) -> str:
    # What a list's elements are called differs between writers and means nothing.
    return str(pa.list_(kind.value_type)) if pa.types.is_list(kind) else str(kind)


def frame(table: pa.Table) -> pd.DataFrame:
    """A table's columns, and the row's number.

    Nulls stay nulls: pandas takes a float NaN for one, so NaN becomes infinite here, and is found as such. A list
    stands as its length, for Great Expectations hashes every value; whether a vector is finite becomes a column.
    """
    columns: dict[str, pd.Series] = {ROW: pd.Series(np.arange(table.num_rows))}
    for name, column in zip(table.column_names, table.columns, strict=True):
        columns[name] = _series(column)
        if pa.types.is_list(column.type) and pa.types.is_floating(column.type.value_type):
            columns[finite_column(name)] = _all_finite(column)
    return pd.DataFrame(columns)


def _series(column: pa.ChunkedArray) -> pd.Series:
    if pa.types.is_floating(column.type):
        return pc.if_else(pc.is_nan(column), np.inf, column.cast(pa.float64())).to_pandas()
    values = pc.list_value_length(column) if pa.types.is_list(column.type) else column
    return values.to_pandas(types_mapper=_NULLABLE.get)


def _all_finite(column: pa.ChunkedArray) -> pd.Series:
    bad = pc.invert(pc.is_finite(pc.list_flatten(column)).fill_null(fill_value=False))
    finite = np.ones(len(column), dtype=bool)
    finite[pc.list_parent_indices(column).filter(bad).to_numpy()] = False
    return pd.Series(finite)


def unlisted_items(pulled: Pulled) -> pd.Series:
    """The item of each interaction where the last catalogue lacks it, else null."""
    items = pulled.interactions[pulled.contract.item_key]
    listed = pulled.catalogue_at(pulled.bounds.as_of)[pulled.contract.item_key]
    found = pc.is_in(items, value_set=listed.combine_chunks().cast(items.type))
    return _series(pc.if_else(found, pa.scalar(None, items.type), items))
