"""Apply the SQL condition of the user."""

import duckdb
import pyarrow as pa

from two_tower.errors import InputError


def matching(condition: str, table: pa.Table) -> pa.ChunkedArray:
    """Return which rows match a condition.

    Args:
        condition: An SQL expression with the columns of the table.
        table: The rows.

    Returns:
        (rows,) bool; False where the condition is null.

    Raises:
        InputError: If the condition is not valid.
    """
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("events", table)
        try:
            rows = connection.sql(f"select coalesce(({condition})::bool, false) as kept from events")  # noqa: S608 - SQL of the user
            return rows.to_arrow_table()["kept"]
        except duckdb.Error as error:
            columns = ", ".join(table.column_names)
            message = f"--where {condition!r} is not a valid SQL condition: {error}. Columns: {columns}."
            raise InputError(message) from error
