"""What every data set is read into: users, items and interactions as plain tables."""

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

    users, items: the key, `event_timestamp` (when the row's values became known) and one column per feature.
    interactions: both keys, `event_timestamp`, and whatever else describes the event (`weight`, a rating …).
    report: how many rows each cleaning rule dropped, by the rule's name.

    Raises InputError for an empty table, a missing column, a timestamp of another type than timestamp[us, UTC], a
    null key or timestamp, two rows of one key at one time, and fewer than two users or items.
    """

    users: pa.Table
    items: pa.Table
    interactions: pa.Table
    report: dict[str, int] = field(default_factory=dict)
    user_key: str = USER_KEY
    item_key: str = ITEM_KEY

    def __post_init__(self) -> None:
        _check("users", self.users, (self.user_key,), once=True)
        _check("items", self.items, (self.item_key,), once=True)
        _check("interactions", self.interactions, (self.user_key, self.item_key), once=False)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("users", "items", "interactions"):
            pq.write_table(getattr(self, name), folder / f"{name}.parquet")
        meta = {"report": self.report, "user_key": self.user_key, "item_key": self.item_key}
        (folder / "tables.json").write_text(json.dumps(meta, indent=2))

    @classmethod
    def read(cls, folder: Path) -> "Tables":
        meta = json.loads((folder / "tables.json").read_text())
        tables = {name: pq.read_table(folder / f"{name}.parquet") for name in ("users", "items", "interactions")}
        return cls(**tables, **meta)


def _check(name: str, table: pa.Table, keys: tuple[str, ...], *, once: bool) -> None:
    if table.num_rows == 0:
        raise InputError(f"table {name!r} is empty; a data set needs at least one row in it.")
    columns = (*keys, EVENT_TIMESTAMP)
    absent = [c for c in columns if c not in table.column_names]
    if absent:
        raise InputError(
            f"table {name!r} lacks the column {absent[0]!r}. It has: {', '.join(table.column_names)}. "
            "Rename the column that holds it, or add it."
        )
    if table.schema.field(EVENT_TIMESTAMP).type != TIMESTAMP:
        found = table.schema.field(EVENT_TIMESTAMP).type
        raise InputError(f"{name}.{EVENT_TIMESTAMP} is of type {found}; cast it to {TIMESTAMP}.")
    for column in columns:
        if table[column].null_count:
            raise InputError(
                f"{name}.{column} is null in {table[column].null_count} of {table.num_rows} rows; drop or fill them."
            )
    for key in keys:
        distinct = len(pc.unique(table[key]))
        if distinct < 2:
            raise InputError(
                f"{name}.{key} holds one value only ({table[key][0].as_py()!r}); two towers need at least 2."
            )
    if once and table.group_by(list(columns)).aggregate([]).num_rows < table.num_rows:
        raise InputError(f"table {name!r} has two rows of one {keys[0]} at one {EVENT_TIMESTAMP}; keep one of them.")
