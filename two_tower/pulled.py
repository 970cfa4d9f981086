"""What was pulled from the feature store: interactions, features as of each, split by time, and the catalogue.

A folder of parquet files, so that it can travel between pipeline steps as one artifact:

    interactions.parquet   user key, item key, event_timestamp, weight, split; by event_timestamp
    user.parquet           features of service user_tower as of each interaction; row i belongs to interaction i
    item.parquet           features of service item_tower, likewise
    catalogue.parquet      snapshot (timestamp), item key, features of item_tower as of the snapshot
    pulled.json            the contract, the bounds in time, and what was seen of the views' sources
"""

import json
from collections.abc import Mapping
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
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            pq.write_table(getattr(self, name), folder / f"{name}.parquet")
        bounds = {
            "train_end": self.bounds.train_end.isoformat(),
            "validation_end": self.bounds.validation_end.isoformat(),
            "as_of": self.bounds.as_of.isoformat(),
            "snapshots": [s.isoformat() for s in self.bounds.snapshots],
        }
        (folder / "pulled.json").write_text(
            json.dumps({"contract": self.contract.to_dict(), "bounds": bounds, "views": self.views}, indent=2)
        )

    @classmethod
    def read(cls, folder: Path) -> "Pulled":
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
            **{name: pq.read_table(folder / f"{name}.parquet") for name in TABLES},
            views=meta["views"],
        )
