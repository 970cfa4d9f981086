"""What was pulled from the feature store: interactions, features as of each, split by time, and the catalogue.

A folder of parquet data sets, each in parts that follow one another, so that it can be written while it is read from
the store, and travel between pipeline steps as one artifact:

    interactions/   user key, item key, event_timestamp, weight, split; by event_timestamp
    user/           features of service user_tower as of each interaction; row i belongs to interaction i
    item/           features of service item_tower, likewise
    catalogue/      snapshot (timestamp), item key, features of item_tower as of the snapshot
    pulled.json     the contract, the bounds in time, and what was seen of the views' sources
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.inputs import Array
from two_tower.schema import Contract

EVENT_TIMESTAMP = "event_timestamp"
SNAPSHOT = "snapshot"
WEIGHT = "weight"
SPLIT = "split"
TABLES = ("interactions", "user", "item", "catalogue")
ROW_GROUP = 65_536  # rows that are read at a time where memory does not hold all (see `parts`)


class Split(StrEnum):
    """Which window of time an interaction lies in."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Instants in UTC. Training rows lie before train_end, validation rows before validation_end, test rows at or
    before as_of.

    snapshots: when the catalogue was read, ascending: the first is train_end, the second validation_end, the last
    as_of; those between refresh the index in the course of the test window.
    """

    train_end: datetime
    validation_end: datetime
    as_of: datetime
    snapshots: tuple[datetime, ...]

    def __post_init__(self) -> None:
        assert self.train_end <= self.validation_end <= self.as_of
        assert list(self.snapshots) == sorted(self.snapshots)
        assert self.snapshots[0] == self.train_end and self.snapshots[-1] == self.as_of


@dataclass(frozen=True)
class Pulled:
    """The pulled tables in memory. views: what was seen of the source of each feature view (see `sources.state`)."""

    contract: Contract
    bounds: Bounds
    interactions: pa.Table
    user: pa.Table
    item: pa.Table
    catalogue: pa.Table
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def rows(self, split: Split) -> Array:
        """Row numbers of the interactions of one split, int64, ascending in time."""
        return np.flatnonzero(pc.equal(self.interactions[SPLIT], split.value).to_numpy(zero_copy_only=False))

    @cached_property
    def seconds(self) -> Array:
        """The time of each interaction in whole seconds since 1970, int64, [interactions]."""
        stamps = self.interactions[EVENT_TIMESTAMP].cast(pa.timestamp("s", tz="UTC"), safe=False)
        return np.asarray(stamps.cast(pa.int64()).to_numpy())

    def catalogue_at(self, snapshot: datetime) -> pa.Table:
        """The items that exist at a snapshot, with their features as of then; one row an item."""
        at = pa.scalar(snapshot, type=self.catalogue.schema.field(SNAPSHOT).type)
        return self.catalogue.filter(pc.equal(self.catalogue[SNAPSHOT], at)).drop_columns([SNAPSHOT])

    def write(self, folder: Path) -> None:
        for name in TABLES:
            write_part(folder, name, 0, getattr(self, name))
        write_description(folder, self.contract, self.bounds, self.views)

    @classmethod
    def read(cls, folder: Path, tables: Collection[str] = TABLES) -> "Pulled":
        """What a folder holds. tables: those to load; of the others only the columns are there, without rows."""
        meta = json.loads((folder / "pulled.json").read_text())
        bounds = meta["bounds"]
        return cls(
            Contract.from_dict(meta["contract"]),
            Bounds(
                train_end=datetime.fromisoformat(bounds["train_end"]),
                validation_end=datetime.fromisoformat(bounds["validation_end"]),
                as_of=datetime.fromisoformat(bounds["as_of"]),
                snapshots=tuple(datetime.fromisoformat(s) for s in bounds["snapshots"]),
            ),
            **{name: _read(folder / name, rows=name in tables) for name in TABLES},
            views=meta["views"],
        )


def write_part(folder: Path, name: str, number: int, table: pa.Table) -> None:
    """One part of a table of `Pulled`; parts are read in the order of their numbers."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name / f"part-{number:05}.parquet", row_group_size=ROW_GROUP)


def write_description(folder: Path, contract: Contract, bounds: Bounds, views: Mapping[str, Any]) -> None:
    """What `Pulled` holds beside its tables; written last, it says that these are whole."""
    said = {
        "train_end": bounds.train_end.isoformat(),
        "validation_end": bounds.validation_end.isoformat(),
        "as_of": bounds.as_of.isoformat(),
        "snapshots": [s.isoformat() for s in bounds.snapshots],
    }
    described = {"contract": contract.to_dict(), "bounds": said, "views": views}
    (folder / "pulled.json").write_text(json.dumps(described, indent=2))


def _read(folder: Path, *, rows: bool) -> pa.Table:
    if not rows:
        return pq.read_schema(min(folder.iterdir())).empty_table()
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.iterdir())])
