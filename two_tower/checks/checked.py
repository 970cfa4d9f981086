"""Convert pulled tables to the data frames that the expectations check."""

import great_expectations as gx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import Pulled

ROW = "two_tower_row"  # the row number, so that a failed expectation can name the row
ABSENT = "absent"
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.int32(): pd.Int32Dtype(), pa.bool_(): pd.BooleanDtype()}


def finite_column(name: str) -> str:
    """Return the name of the checked column that holds whether each vector of a feature is finite."""
    return f"{name} (finite)"


def unlisted_column(item_key: str) -> str:
    """Return the name of the checked column with the items that are not in the newest catalogue."""
    return f"{item_key} (not in the catalogue)"


def type_row(table: pa.Table, suite: gx.ExpectationSuite) -> pd.DataFrame:
    """Return one row with the type of each column that the suite checks.

    Args:
        table: The pulled table.
        suite: The suite of `suites.type_suites` for this table.

    Returns:
        One column per expectation: the Arrow type name, or ABSENT if the table does not have the column.
    """
    types = dict(zip(table.schema.names, map(_type_name, table.schema.types), strict=True))
    columns = [e.column for e in suite.expectations]
    return pd.DataFrame([{name: types.get(name, ABSENT) for name in columns} | {ROW: 0}])


def _type_name(kind: pa.DataType) -> str:
    # The name of the list element differs between writers and has no meaning.
    return str(pa.list_(kind.value_type)) if pa.types.is_list(kind) else str(kind)


def frame(table: pa.Table) -> pd.DataFrame:
    """Convert a table to a data frame with a column of row numbers.

    Nulls stay nulls. pandas reads a float NaN as null, so NaN becomes infinity, which an expectation reports. A list
    becomes its length, because Great Expectations hashes every value. Vectors get a further column: whether all
    elements are finite.

    Args:
        table: The pulled table.

    Returns:
        ROW, the columns of the table, and `finite_column` of each vector column.
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
    """Return the item of each interaction if the newest catalogue does not contain it, else null; (interactions,)."""
    items = pulled.interactions[pulled.contract.item_key]
    catalogue = pulled.catalogue_at(pulled.bounds.as_of)[pulled.contract.item_key]
    listed = pc.is_in(items, value_set=catalogue.combine_chunks().cast(items.type))
    return _series(pc.if_else(listed, pa.scalar(None, items.type), items))
