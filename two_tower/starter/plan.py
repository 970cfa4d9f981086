"""What each column of the plain tables becomes: decided once, shown, and kept in init.json beside the definitions."""

import dataclasses
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from two_tower._version import __version__
from two_tower.schema import Dtype

PLAN = "init.json"
ITEM_ID = "item"  # the feature that holds the key, so that histories and items share a table of embeddings
FIRST_SEEN = "first_seen"  # of items that have no table of their own: the time of their first interaction
Role = Literal["user key", "item key", "time", "weight", "user feature", "item feature", "kept", "unused"]
ACTIVITY = {  # features that activity gives, by whose they are
    "user": ("recent_items", "user_events", "last_seen", "seen_items"),
    "item": (ITEM_ID, FIRST_SEEN, "item_events_7d", "item_events_30d", "item_events"),
}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a file. field: its name in the repository; kind: how its values are read (see `values`)."""

    source: str
    role: Role
    field: str
    kind: str
    why: str
    dtype: Dtype | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file. stamp: the column of the time from which a row holds; versions: several rows of one key, by time."""

    path: str
    names: list[str] | None
    columns: tuple[Column, ...]
    stamp: str | None = None
    versions: bool = False

    def role(self, role: Role) -> Column:
        return next(c for c in self.columns if c.role == role)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """users, items: None where they are derived from the interactions. where: which interactions count, as SQL."""

    user_key: str
    item_key: str
    user_dtype: Dtype
    item_dtype: Dtype
    users: Table | None
    items: Table | None
    interactions: Table
    where: str | None = None
    delimiter: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def facts(self) -> list[Column]:
        """Columns of the interactions that are kept beside each event."""
        return [c for c in self.interactions.columns if c.role in ("weight", "kept")]

    def features(self, who: Literal["user", "item"]) -> list[Column]:
        own = self.users if who == "user" else self.items
        return [c for c in (own or self.interactions).columns if c.role == f"{who} feature"]

    def write(self, folder: Path) -> None:
        (folder / PLAN).write_text(json.dumps({"version": __version__, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        data = json.loads((folder / PLAN).read_text())
        interactions = _table(data["interactions"])
        assert interactions is not None
        return cls(
            user_key=data["user_key"],
            item_key=data["item_key"],
            user_dtype=Dtype(data["user_dtype"]),
            item_dtype=Dtype(data["item_dtype"]),
            users=_table(data["users"]),
            items=_table(data["items"]),
            interactions=interactions,
            where=data["where"],
            delimiter=data.get("delimiter"),
            notes=tuple(data["notes"]),
        )


def _table(data: dict[str, Any] | None) -> Table | None:
    if data is None:
        return None
    columns = [Column(**{**c, "dtype": c["dtype"] and Dtype(c["dtype"])}) for c in data["columns"]]
    return Table(**{**data, "columns": tuple(columns)})
