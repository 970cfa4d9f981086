"""The tables of a data set: users, items and interactions."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.errors import InputError

TIMESTAMP = pa.timestamp("us", tz="UTC")
USER_KEY = "user_id"
ITEM_KEY = "item_id"


@dataclass(frozen=True, kw_only=True)
class Tables:
    """A data set.

    Attributes:
        users: The user key, `event_timestamp` (the time when the values of the row became known) and one column per
            feature.
        items: The item key, `event_timestamp` and one column per feature.
        interactions: Both keys, `event_timestamp`, and other columns of the event, such as `weight` or a rating.
        report: The number of rows that each cleaning rule dropped, by the name of the rule.
        user_key: The column of the user key.
        item_key: The column of the item key.
        has_times: Whether `event_timestamp` of the interactions is the time of the interaction. Otherwise all rows have
            the same time, and there are no activity features.

    Raises:
        InputError: If a table is empty, lacks a column, has a timestamp of another type than timestamp[us, UTC], a null
            key or timestamp, two rows with the same key and time, or fewer than two users or items.
    """

    users: pa.Table
    items: pa.Table
    interactions: pa.Table
    report: dict[str, int] = field(default_factory=dict)
    user_key: str = USER_KEY
    item_key: str = ITEM_KEY
    has_times: bool = True

    def __post_init__(self) -> None:
        _check("users", self.users, (self.user_key,), once=True)
        _check("items", self.items, (self.item_key,), once=True)
        _check("interactions", self.interactions, (self.user_key, self.item_key), once=False)

    def write(self, folder: Path) -> None:
        """Write one parquet file per table and tables.json to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("users", "items", "interactions"):
            pq.write_table(getattr(self, name), folder / f"{name}.parquet")
        meta = {name: getattr(self, name) for name in ("report", "user_key", "item_key", "has_times")}
        (folder / "tables.json").write_text(json.dumps(meta, indent=2))

    @classmethod
    def read(cls, folder: Path) -> "Tables":
        """Read a data set from a folder that `write` wrote."""
        meta = json.loads((folder / "tables.json").read_text())
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("users", "items", "interactions")}
        return cls(**tables, **meta)


def _check(name: str, table: pa.Table, keys: tuple[str, ...], *, once: bool) -> None:
    if table.num_rows == 0:
        raise InputError(f"table {name!r} is empty; it needs at least one row.")
    columns = (*keys, EVENT_TIMESTAMP)
    missing = [c for c in columns if c not in table.column_names]
    if missing:
        raise InputError(
            f"table {name!r} lacks the column {missing[0]!r}. Its columns: {', '.join(table.column_names)}. Rename the "
            "right column, or add it."
        )
    kind = table.schema.field(EVENT_TIMESTAMP).type
    if kind != TIMESTAMP:
        raise InputError(f"{name}.{EVENT_TIMESTAMP} has the type {kind}; cast it to {TIMESTAMP}.")
    for column in columns:
        if table[column].null_count:
            raise InputError(
                f"{name}.{column} is null in {table[column].null_count} of {table.num_rows} rows; remove these rows, "
                "or fill the values."
            )
    for key in keys:
        distinct = len(pc.unique(table[key]))
        if distinct < 2:
            raise InputError(f"{name}.{key} has only one value ({table[key][0].as_py()!r}); training needs at least 2.")
    if once and table.group_by(list(columns)).aggregate([]).num_rows < table.num_rows:
        raise InputError(
            f"table {name!r} has two rows with the same {keys[0]} and {EVENT_TIMESTAMP}; keep only one of them."
        )
