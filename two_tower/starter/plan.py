"""The plan of a feature repository: what each column of the plain tables becomes. Stored in init.json."""

import dataclasses
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from two_tower._version import __version__
from two_tower.data.pulled import EVENT_TIMESTAMP, SNAPSHOT, SPLIT, WEIGHT
from two_tower.schema import RESERVED, Dtype

PLAN = "init.json"
ITEM_ID = "item"  # the item key as a feature, so that histories and items share an embedding table
ROW = "two_tower_row"  # the number of a row
FIRST_SEEN = "first_seen"  # the time of the first interaction, a feature of items without a table
USER_ACTIVITY, ITEM_ACTIVITY = "user_activity", "item_activity"  # feature views
Role = Literal["user key", "item key", "time", "weight", "user feature", "item feature", "kept", "unused"]
OWN_NAMES = frozenset(  # the columns of two-tower: columns of the user get other names
    {
        *RESERVED,
        *(EVENT_TIMESTAMP, SNAPSHOT, SPLIT, WEIGHT, ITEM_ID, FIRST_SEEN, ROW),
        *("recent_items", "user_events", "last_seen", "seen_items"),
        *("item_events_7d", "item_events_30d", "item_events"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a file.

    Attributes:
        source: The name of the column in the file.
        role: The use of the column. A column with the role `kept` stays with the interaction and is not a feature.
        field: The name of the column in the repository.
        kind: The kind of its values (see `values`).
        why: The reason, for the user.
        dtype: The Feast dtype. None for an unused column and for the time.
        tags: The tags of the Feast field.
        warning: A possible problem of the column, for the user.
    """

    source: str
    role: Role
    field: str
    kind: str
    why: str
    dtype: Dtype | None = None
    tags: dict[str, str] = dataclasses.field(default_factory=dict)
    warning: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One file.

    Attributes:
        path: The path of the file.
        names: The names of the first columns that the user set. None: the names of the file.
        columns: The columns.
        stamp: The column of the time from which a row is valid. None if there is none.
        versions: Whether a key has several rows that are valid from different times.
    """

    path: str
    names: list[str] | None
    columns: tuple[Column, ...]
    stamp: str | None = None
    versions: bool = False

    def role(self, role: Role) -> Column:
        """Return the first column with a role."""
        return next(c for c in self.columns if c.role == role)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What each column of the tables becomes.

    Attributes:
        user_key: The join key of users in the repository.
        item_key: The join key of items in the repository.
        user_dtype: The dtype of the user key, String or Int64.
        item_dtype: The dtype of the item key, String or Int64.
        users: The file of the users. None if they are derived from the interactions.
        items: The file of the items. None if they are derived from the interactions.
        interactions: The file of the interactions.
        where: An SQL condition; other interactions are dropped. None: no condition.
        delimiter: The delimiter of text files. None: detected.
        activity: The feature views of activity features in the definitions.
        read_at: The time of all interactions if they have no times: when the files were read, ISO 8601. None: the
            interactions have times.
        notes: Notes for the user about the files and the definitions.
        data_notes: Notes for the user about the data, new after each `refresh`.
    """

    user_key: str
    item_key: str
    user_dtype: Dtype
    item_dtype: Dtype
    users: Table | None
    items: Table | None
    interactions: Table
    where: str | None = None
    delimiter: str | None = None
    activity: tuple[str, ...] = (USER_ACTIVITY, ITEM_ACTIVITY)
    read_at: str | None = None
    notes: tuple[str, ...] = ()
    data_notes: tuple[str, ...] = ()

    @property
    def facts(self) -> list[Column]:
        """The columns that stay with the interactions and are not features."""
        return [c for c in self.interactions.columns if c.role in ("weight", "kept")]

    def features(self, who: Literal["user", "item"]) -> list[Column]:
        """Return the feature columns of users or items."""
        own = self.users if who == "user" else self.items
        return [c for c in (own or self.interactions).columns if c.role == f"{who} feature"]

    def write(self, folder: Path) -> None:
        """Write init.json to a folder."""
        (folder / PLAN).write_text(json.dumps({"version": __version__, **asdict(self)}, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Plan":
        """Read a plan from the init.json of a folder."""
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
            activity=tuple(data.get("activity", (USER_ACTIVITY, ITEM_ACTIVITY))),
            read_at=data.get("read_at"),
            notes=tuple(data["notes"]),
            data_notes=tuple(data.get("data_notes", ())),
        )


def _table(data: dict[str, Any] | None) -> Table | None:
    if data is None:
        return None
    columns = [Column(**{**c, "dtype": c["dtype"] and Dtype(c["dtype"])}) for c in data["columns"]]
    return Table(**{**data, "columns": tuple(columns)})
