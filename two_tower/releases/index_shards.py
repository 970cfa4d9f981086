"""Embedding of the catalogue in shards, which can run on several machines, and assembly of one index from them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.data.catalogue import Catalogue
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.releases.item_index import embed_items, query_users, user_profile, write_index

EMBEDDINGS, PART = "embeddings.npy", "part.json"


def embed_part(towers: Path, catalogue: Catalogue, part: str, folder: Path) -> None:
    """Embed the items of one shard, and write the embeddings and the name of the shard.

    Args:
        towers: Folder with the ONNX files of both towers.
        catalogue: The whole catalogue.
        part: The shard, such as 2/4 (see `Catalogue.part`).
        folder: Receives the embeddings, float32 [items, dim].
    """
    items = catalogue.shard(part)
    seconds = np.full(items.num_rows, int(catalogue.as_of.timestamp()))
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / EMBEDDINGS, embed_items(towers, items, catalogue.contract, seconds))
    (folder / PART).write_text(json.dumps({"part": part}))


def assemble(
    towers: Path,
    catalogue: Catalogue,
    shards: Sequence[Path],
    users: dict[str, Any] | None,
    folder: Path,
    queries: Array | None = None,
) -> None:
    """Write the same files as `item_index.build_index`, from the embeddings of all shards.

    Args:
        towers: Folder with the ONNX files of both towers.
        catalogue: The catalogue that was embedded.
        shards: Folders written by `embed_part`, in any order.
        users: Profile of the user features; None if there is none.
        folder: Receives the files.
        queries: See `item_index.write_index`.

    Raises:
        InputError: A shard is missing, or belongs to another catalogue.
    """
    items = np.concatenate([_read(path) for path in _in_order(shards)])
    if len(items) != catalogue.items.num_rows:
        raise InputError(
            f"the shards hold {len(items)} embeddings, the catalogue {catalogue.items.num_rows} items: they belong to "
            "different runs. Embed again without the cache."
        )
    write_index(towers, catalogue, items, users, folder, queries)


def assemble_pulled(towers: Path, pulled: Pulled, shards: Sequence[Path], folder: Path) -> None:
    """Assemble the index of the newest catalogue of the pulled data, with the profile of its users."""
    catalogue = Catalogue.from_pulled(pulled)
    assemble(towers, catalogue, shards, user_profile(pulled), folder, query_users(towers, pulled))


def _in_order(shards: Sequence[Path]) -> list[Path]:
    folders = {json.loads((path / PART).read_text())["part"]: path for path in shards}
    count = max(int(part.partition("/")[2]) for part in folders)
    parts = [f"{number}/{count}" for number in range(1, count + 1)]
    missing = [part for part in parts if part not in folders]
    if missing:
        raise InputError(f"shards {', '.join(missing)} of the catalogue are missing. Embed again.")
    if len(folders) != count:
        extra = sorted(folders.keys() - set(parts))
        raise InputError(
            f"shards {', '.join(extra)} do not belong to the {count} shards of the catalogue. Embed again."
        )
    return [folders[part] for part in parts]


def _read(path: Path) -> Array:
    return np.asarray(np.load(path / EMBEDDINGS, allow_pickle=False))
