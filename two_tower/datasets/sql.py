"""Names of tables in SQL."""

import duckdb


def quoted(name: str) -> str:
    """Return the name of a column as DuckDB writes it in SQL: in quotes, and with each quote inside it doubled."""
    return str(duckdb.ColumnExpression(name))
