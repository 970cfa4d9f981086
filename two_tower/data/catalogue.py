"""The catalogue at one instant: what an index is made of, and what travels to the shards that embed it."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.data.pulled import EVENT_TIMESTAMP, Pulled
from two_tower.errors import InputError
from two_tower.schema import POPULARITY, Contract

POPULARITY_WINDOW = timedelta(days=30)
USERS = 500  # of the newest users, whose ids are kept


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """items: item key, item features as of `as_of`, and popularity (interactions in the 30 days before), a row each.
    users: ids of the users who interacted last, the newest first, for questions to a service.
    """

    contract: Contract
    as_of: datetime
    items: pa.Table
    users: tuple[str | int, ...] = ()

    @classmethod
    def of(cls, pulled: Pulled) -> "Catalogue":
        """The newest catalogue of what was pulled."""
        as_of = pulled.bounds.as_of
        items = pulled.catalogue_at(as_of)
        log = pulled.interactions.select([pulled.contract.user_key]).slice(
            max(0, len(pulled.interactions) - 100 * USERS)
        )
        newest = dict.fromkeys(reversed(log[pulled.contract.user_key].to_pylist()))
        return cls(
            contract=pulled.contract,
            as_of=as_of,
            items=items.append_column(POPULARITY, _popularity(pulled, items)),
            users=tuple(newest)[:USERS],
        )

    def part(self, part: str) -> pa.Table:
        """The items of one shard. part: such as 2/4, the second of four; together they are all items, in order.

        Raises InputError for anything else.
        """
        number, _, of = part.partition("/")
        if not (number.isdigit() and of.isdigit() and 1 <= int(number) <= int(of)):
            raise InputError(f"shard {part!r} is not of the form NUMBER/OF, such as 2/4.")
        start, end = ((int(number) - back) * self.items.num_rows // int(of) for back in (1, 0))
        return self.items.slice(start, end - start)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.items, folder / "items.parquet")
        said = {"contract": self.contract.to_dict(), "as_of": self.as_of.isoformat(), "users": self.users}
        (folder / "catalogue.json").write_text(json.dumps(said, indent=1))

    @classmethod
    def read(cls, folder: Path) -> "Catalogue":
        said = json.loads((folder / "catalogue.json").read_text())
        return cls(
            contract=Contract.from_dict(said["contract"]),
            as_of=datetime.fromisoformat(said["as_of"]),
            items=pq.read_table(folder / "items.parquet"),
            users=tuple(said["users"]),
        )


def parts(shards: int) -> list[str]:
    """The name of each of so many shards, for `Catalogue.part`."""
    return [f"{number}/{shards}" for number in range(1, shards + 1)]


def _popularity(pulled: Pulled, items: pa.Table) -> pa.Array:
    """Interactions of each item in the 30 days up to as_of, float64 [items]."""
    key = pulled.contract.item_key
    stamp = pulled.interactions.schema.field(EVENT_TIMESTAMP).type
    since = pa.scalar(pulled.bounds.as_of - POPULARITY_WINDOW, type=stamp)
    recent = pulled.interactions.filter(pc.greater(pulled.interactions[EVENT_TIMESTAMP], since))
    counts = recent[key].value_counts()
    place = pc.index_in(items[key], value_set=counts.field("values"))
    return counts.field("counts").take(place.combine_chunks()).fill_null(0).cast(pa.float64())
