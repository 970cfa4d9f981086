"""The catalogue: all items with their features at one time. The index is built from it, in shards."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.data.pulled import EVENT_TIMESTAMP, Pulled
from two_tower.data.seen import weights
from two_tower.errors import InputError
from two_tower.schema import POPULARITY, Contract

POPULARITY_WINDOW = timedelta(days=30)
USERS = 500  # the catalogue keeps the ids of this many users
VIEWS = b"views"  # metadata of a table of users' features: JSON of the feature view by feature


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All items with their features at one time.

    Attributes:
        contract: The feature contract.
        as_of: The time of the features.
        items: One row per item: item key, item features at `as_of`, and popularity (the number of interactions in the
            30 days before `as_of`).
        users: The ids of the users with the newest interactions, newest first. The smoke test sends requests for them.
    """

    contract: Contract
    as_of: datetime
    items: pa.Table
    users: tuple[str | int, ...] = ()

    @classmethod
    def from_pulled(cls, pulled: Pulled) -> "Catalogue":
        """Return the newest catalogue of a pull."""
        as_of = pulled.bounds.as_of
        items = pulled.catalogue_at(as_of)
        recent = pulled.interactions.select([pulled.contract.user_key]).slice(
            max(0, len(pulled.interactions) - 100 * USERS)
        )
        newest = dict.fromkeys(reversed(recent[pulled.contract.user_key].to_pylist()))
        return cls(
            contract=pulled.contract,
            as_of=as_of,
            items=items.append_column(POPULARITY, _popularity(pulled, items)),
            users=tuple(newest)[:USERS],
        )

    def shard(self, name: str) -> pa.Table:
        """Return the items of one shard. All shards together, in order, are all items.

        Args:
            name: NUMBER/COUNT, such as "2/4" for the second of four shards.

        Returns:
            Rows of `items`.

        Raises:
            InputError: If the name does not have this form.
        """
        number, _, count = name.partition("/")
        if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
            raise InputError(f"shard {name!r} does not have the form NUMBER/COUNT, such as 2/4.")
        start, end = (edge * self.items.num_rows // int(count) for edge in (int(number) - 1, int(number)))
        return self.items.slice(start, end - start)

    def write(self, folder: Path) -> None:
        """Write items.parquet and catalogue.json to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.items, folder / "items.parquet")
        metadata = {"contract": self.contract.to_dict(), "as_of": self.as_of.isoformat(), "users": self.users}
        (folder / "catalogue.json").write_text(json.dumps(metadata, indent=1))

    @classmethod
    def read(cls, folder: Path) -> "Catalogue":
        """Read a catalogue from a folder that `write` wrote."""
        metadata = json.loads((folder / "catalogue.json").read_text())
        return cls(
            contract=Contract.from_dict(metadata["contract"]),
            as_of=datetime.fromisoformat(metadata["as_of"]),
            items=pq.read_table(folder / "items.parquet"),
            users=tuple(metadata["users"]),
        )


def shard_names(count: int) -> list[str]:
    """Return the names of `count` shards, for `Catalogue.shard`."""
    return [f"{number}/{count}" for number in range(1, count + 1)]


def _popularity(pulled: Pulled, items: pa.Table) -> pa.Array:
    """Count the interactions of weight above 0 with each item in the 30 days up to as_of; (items,) float64."""
    key = pulled.contract.item_key
    stamp = pulled.interactions.schema.field(EVENT_TIMESTAMP).type
    since = pa.scalar(pulled.bounds.as_of - POPULARITY_WINDOW, type=stamp)
    is_recent = pc.greater(pulled.interactions[EVENT_TIMESTAMP], since)
    recent = pulled.interactions.filter(pc.and_(is_recent, pa.array(weights(pulled.interactions) > 0)))
    counts = recent[key].value_counts()
    position = pc.index_in(items[key], value_set=counts.field("values"))
    return counts.field("counts").take(position.combine_chunks()).fill_null(0).cast(pa.float64())
