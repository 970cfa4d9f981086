from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from two_tower.datasets.tables import TIMESTAMP, Tables
from two_tower.errors import InputError

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def stamped(**columns: list) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.table({**columns, "event_timestamp": pa.array([NOW] * count, TIMESTAMP)})


def parts() -> dict[str, pa.Table]:
    return {
        "users": stamped(user_id=[1, 2]),
        "items": stamped(item_id=["x", "y"]),
        "interactions": stamped(user_id=[1, 2, 2], item_id=["x", "x", "y"]),
    }


def test_tables_survive_a_trip_through_a_folder(tmp_path: Path) -> None:
    tables = Tables(**parts(), report={"no_customer": 3})
    tables.write(tmp_path / "deep" / "folder")
    assert Tables.read(tmp_path / "deep" / "folder") == tables


@pytest.mark.parametrize(
    ("name", "table", "message"),
    [
        ("users", stamped(user_id=[1, 2]).slice(0, 0), "'users' is empty"),
        ("items", stamped(sku=["x", "y"]), "'items' lacks the column 'item_id'. Its columns: sku"),
        ("interactions", stamped(user_id=[1, None], item_id=["x", "y"]), "interactions.user_id is null in 1 of 2"),
        ("interactions", stamped(user_id=[1, 1], item_id=["x", "y"]), "interactions.user_id has only one value"),
        ("items", stamped(item_id=["x", "x", "y"]), "two rows with the same item_id and event_timestamp"),
        ("users", pa.table({"user_id": [1, 2], "event_timestamp": [NOW, NOW]}).cast(
            pa.schema([("user_id", pa.int64()), ("event_timestamp", pa.timestamp("ns"))])), "has the type timestamp"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(name: str, table: pa.Table, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Tables(**{**parts(), name: table})
