import duckdb
import pytest

from two_tower.datasets.sql import quoted


@pytest.mark.parametrize("name", ["a", "A b", 'a"b', '"; drop table t; --', "select", "x.y", "é", "a\nb", "\\"])
def test_a_quoted_name_is_that_column(name: str) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create table t ({quoted(name)} int)")
        assert connection.sql(f"select {quoted(name)} from t").columns == [name]
