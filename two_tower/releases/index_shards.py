"""The catalogue embedded in shards, each of which may be another machine's, and put together as one index."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.data.catalogue import Catalogue
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.releases.item_index import embed_items, user_profile, write_index

EMBEDDINGS, PART = "embeddings.npy", "part.json"


def embed_part(towers: Path, catalogue: Catalogue, part: str, folder: Path) -> None:
    """Embed one shard's items and write them to `folder`: float32 [items, dim], and which shard it is."""
    items = catalogue.shard(part)
    seconds = np.full(items.num_rows, int(catalogue.as_of.timestamp()))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / EMBEDDINGS, embed_items(towers, items, catalogue.contract, seconds))
    (folder / PART).write_text(json.dumps({"part": part}))


def assemble(
    towers: Path, catalogue: Catalogue, shards: Sequence[Path], users: dict[str, Any] | None, folder: Path
) -> None:
    """Write what `embed.build_index` writes, from the folders of all shards, in any order.

    users: reference profile of the users. Raises InputError where a shard is missing or is of another catalogue.
    """
    items = np.concatenate([_read(path) for path in _in_order(shards)])
    if len(items) != catalogue.items.num_rows:
        raise InputError(
            f"the shards hold {len(items)} embeddings, the catalogue {catalogue.items.num_rows} items: they are of "
            "different runs. Embed again without the cache."
        )
    write_index(towers, catalogue, items, users, folder)


def assemble_pulled(towers: Path, pulled: Pulled, shards: Sequence[Path], folder: Path) -> None:
    """The same for the newest catalogue of what was pulled, and its users."""
    assemble(towers, Catalogue.from_pulled(pulled), shards, user_profile(pulled), folder)


def _in_order(shards: Sequence[Path]) -> list[Path]:
    found = {json.loads((path / PART).read_text())["part"]: path for path in shards}
    of = max(int(part.partition("/")[2]) for part in found)
    missing = [part for part in (f"{number}/{of}" for number in range(1, of + 1)) if part not in found]
    if missing or len(found) != of:
        raise InputError(
            f"shards {', '.join(missing) or 'of different counts'} of the catalogue: missing. Embed again."
        )
    return [found[f"{number}/{of}"] for number in range(1, of + 1)]


def _read(path: Path) -> Array:
    return np.asarray(np.load(path / EMBEDDINGS, allow_pickle=False))
