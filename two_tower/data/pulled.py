"""Data pulled from the feature store: interactions with their features, split by time, and the catalogue.

A pull is a folder of parquet data sets and one artifact of the pipeline. The data sets are written in parts, while the
pull reads from the store:

    interactions/   user key, item key, event_timestamp, weight, split; sorted by event_timestamp
    user/           features of the service user_tower at the time of each interaction; row i belongs to interaction i
    item/           features of the service item_tower, in the same order
    catalogue/      two_tower_snapshot (timestamp), item key, features of item_tower at the time of the snapshot
    pulled.json     the contract, the bounds of the splits, and statistics of the sources of the feature views
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
from two_tower.schema import Contract, SplitMethod

EVENT_TIMESTAMP = "event_timestamp"
SNAPSHOT = "two_tower_snapshot"  # no feature has such a name
WEIGHT = "weight"
SPLIT = "split"
TABLES = ("interactions", "user", "item", "catalogue")
ROW_GROUP = 65_536  # rows per parquet row group, the unit of streaming reads (see `parts`)


class Split(StrEnum):
    """The part of the data that an interaction belongs to."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Times in UTC that separate the splits.

    The per-user holdout has no times. There the splits are one microsecond apart, so that "earlier" means "in an
    earlier split".

    Attributes:
        train_end: Training rows are before this time.
        validation_end: Validation rows are before this time, and not before `train_end`.
        as_of: Test rows are at or before this time, and not before `validation_end`.
        snapshots: The times of the catalogue, ascending: first `train_end`, then `validation_end`, last `as_of`. The
            snapshots between them refresh the index during the test window.
        split: How the rows are split.
    """

    train_end: datetime
    validation_end: datetime
    as_of: datetime
    snapshots: tuple[datetime, ...]
    split: SplitMethod = "time"

    def __post_init__(self) -> None:
        assert self.train_end <= self.validation_end <= self.as_of
        assert list(self.snapshots) == sorted(self.snapshots)
        assert self.snapshots[0] == self.train_end and self.snapshots[-1] == self.as_of

    @property
    def meaning(self) -> str:
        """Sentences that say how the rows are split."""
        if self.split == "per_user":
            return (
                "Per-user holdout, no times: a random part of each user's interactions is held out. This measures less "
                "than a split by time: training may use interactions that came after the held-out ones."
            )
        return (
            f"Split by time: training before {self.train_end:%Y-%m-%d %H:%M}, validation before "
            f"{self.validation_end:%Y-%m-%d %H:%M}, test up to {self.as_of:%Y-%m-%d %H:%M} UTC."
        )


@dataclass(frozen=True)
class Pulled:
    """The pulled tables in memory; see the module's docstring for their columns.

    Attributes:
        contract: The feature contract.
        bounds: The times that separate the splits.
        interactions: One row per interaction, sorted by time.
        user: User features, one row per interaction.
        item: Item features, one row per interaction.
        catalogue: Item features, one row per item and snapshot.
        views: Statistics of the source of each feature view, by name (see `sources.state`).
    """

    contract: Contract
    bounds: Bounds
    interactions: pa.Table
    user: pa.Table
    item: pa.Table
    catalogue: pa.Table
    views: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def rows(self, split: Split) -> Array:
        """Return the row numbers of the interactions of one split; (rows,) int64, sorted by time."""
        return np.flatnonzero(pc.equal(self.interactions[SPLIT], split.value).to_numpy(zero_copy_only=False))

    @cached_property
    def seconds(self) -> Array:
        """The time of each interaction, in whole seconds since 1970; (interactions,) int64."""
        stamps = self.interactions[EVENT_TIMESTAMP].cast(pa.timestamp("s", tz="UTC"), safe=False)
        return np.asarray(stamps.cast(pa.int64()).to_numpy())

    def catalogue_at(self, snapshot: datetime) -> pa.Table:
        """Return the items that exist at a snapshot.

        Args:
            snapshot: One of `bounds.snapshots`.

        Returns:
            Item key and item features at the snapshot, one row per item.
        """
        at = pa.scalar(snapshot, type=self.catalogue.schema.field(SNAPSHOT).type)
        return self.catalogue.filter(pc.equal(self.catalogue[SNAPSHOT], at)).drop_columns([SNAPSHOT])

    def write(self, folder: Path) -> None:
        """Write the tables and pulled.json to a folder."""
        for name in TABLES:
            write_part(folder, name, 0, getattr(self, name))
        write_description(folder, self.contract, self.bounds, self.views)

    @classmethod
    def read(cls, folder: Path, tables: Collection[str] = TABLES) -> "Pulled":
        """Read a pulled folder.

        Args:
            folder: The folder.
            tables: The tables to load. The others have their columns but no rows.

        Returns:
            The tables in memory.
        """
        meta = json.loads((folder / "pulled.json").read_text())
        bounds = meta["bounds"]
        return cls(
            Contract.from_dict(meta["contract"]),
            Bounds(
                train_end=datetime.fromisoformat(bounds["train_end"]),
                validation_end=datetime.fromisoformat(bounds["validation_end"]),
                as_of=datetime.fromisoformat(bounds["as_of"]),
                snapshots=tuple(datetime.fromisoformat(s) for s in bounds["snapshots"]),
                split=bounds.get("split", "time"),
            ),
            **{name: _read(folder / name, rows=name in tables) for name in TABLES},
            views=meta["views"],
        )


def write_part(folder: Path, name: str, number: int, table: pa.Table) -> None:
    """Write one part of a table of `Pulled`.

    Args:
        folder: The pulled folder.
        name: The table, one of TABLES.
        number: The number of the part. Parts are read in the order of their numbers.
        table: The rows.
    """
    (folder / name).mkdir(parents=True, exist_ok=True)
    pq.write_table(table, folder / name / f"part-{number:05}.parquet", row_group_size=ROW_GROUP)


def write_description(folder: Path, contract: Contract, bounds: Bounds, views: Mapping[str, Any]) -> None:
    """Write pulled.json. It is written last: its presence means that the tables are complete.

    Args:
        folder: The pulled folder.
        contract: The feature contract.
        bounds: The times that separate the splits.
        views: Statistics of the source of each feature view, by name (see `sources.state`).
    """
    times = {
        "train_end": bounds.train_end.isoformat(),
        "validation_end": bounds.validation_end.isoformat(),
        "as_of": bounds.as_of.isoformat(),
        "snapshots": [s.isoformat() for s in bounds.snapshots],
        "split": bounds.split,
    }
    description = {"contract": contract.to_dict(), "bounds": times, "views": views}
    (folder / "pulled.json").write_text(json.dumps(description, indent=2))


def _read(folder: Path, *, rows: bool) -> pa.Table:
    if not rows:
        return pq.read_schema(min(folder.iterdir())).empty_table()
    return pa.concat_tables([pq.read_table(part) for part in sorted(folder.iterdir())])
