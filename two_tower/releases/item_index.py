"""Embedding of whole tables with the ONNX towers, and the index of the newest catalogue."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.data.catalogue import Catalogue
from two_tower.data.pulled import Pulled, Split
from two_tower.errors import InputError
from two_tower.inputs import Array, to_inputs
from two_tower.releases.manifest import File
from two_tower.retrieval import ann_comparison, index
from two_tower.runtime import Device, open_session
from two_tower.schema import EMBEDDING, Contract, Dtype, Feature, TowerName
from two_tower.statistics.profile import profile

MAX_USERS = 100  # ids of users in a release


def embed_users(
    towers: Path, table: pa.Table, contract: Contract, seconds: Array, batch: int = 4096, device: Device = "cpu"
) -> Array:
    """Embed users.

    Args:
        towers: Folder with the ONNX files of both towers.
        table: User features, one row per user.
        contract: Features of the towers.
        seconds: Time of the request for each row, seconds since 1970, int64 [rows].
        batch: Rows per call of the tower.
        device: Where the tower runs.

    Returns:
        Embeddings, float32 [rows, dim].
    """
    return _embed(towers, "user", table, contract, seconds, batch, device)


def embed_items(
    towers: Path, table: pa.Table, contract: Contract, seconds: Array, batch: int = 4096, device: Device = "cpu"
) -> Array:
    """Embed items; see `embed_users`."""
    return _embed(towers, "item", table, contract, seconds, batch, device)


def _embed(
    towers: Path, tower: TowerName, table: pa.Table, contract: Contract, seconds: Array, batch: int, device: Device
) -> Array:
    assert len(seconds) == table.num_rows
    session = open_session(towers / f"{tower}_tower.onnx", device)
    features = contract.tower(tower)
    blocks = [
        session.run(
            [EMBEDDING], tower_inputs(session, table.slice(start, batch), features, seconds[start : start + batch])
        )[0]
        for start in range(0, table.num_rows, batch)
    ]
    dim = session.get_outputs()[0].shape[1]
    return np.concatenate([np.empty((0, dim), dtype=np.float32), *blocks])


def tower_inputs(
    session: ort.InferenceSession, table: pa.Table, features: tuple[Feature, ...], seconds: Array
) -> dict[str, Array]:
    """Convert a table to the inputs of a tower (see `inputs.to_inputs`), with vectors of the width that it takes.

    Raises:
        InputError: A vector has another width.
    """
    inputs = to_inputs(table, features, seconds)
    widths = {one.name: one.shape[-1] for one in session.get_inputs()}
    for f in features:
        if f.dtype == Dtype.FLOATS:
            inputs[f.name] = _of_width(f, inputs[f.name], widths[f.name])
    return inputs


def _of_width(f: Feature, matrix: Array, width: int) -> Array:
    """If all vectors are missing, the table does not tell their width, and the tower's width is used."""
    if matrix.shape[1] == width:
        return matrix
    if np.isnan(matrix).all():
        return np.full((len(matrix), width), np.nan, dtype=np.float32)
    raise InputError(
        f"feature {f.name!r} has vectors of width {matrix.shape[1]}; the tower was trained on width {width}. "
        "Pass vectors of that width, or train again."
    )


def build_index(towers: Path, pulled: Pulled, folder: Path) -> None:
    """Embed the newest catalogue, and write the files of a release that depend on it (see `write_index`)."""
    catalogue = Catalogue.from_pulled(pulled)
    seconds = np.full(catalogue.items.num_rows, int(catalogue.as_of.timestamp()))
    items = embed_items(towers, catalogue.items, pulled.contract, seconds)
    write_index(towers, catalogue, items, user_profile(pulled), folder, query_users(towers, pulled))


def user_profile(pulled: Pulled) -> dict[str, Any]:
    """Return the profile of the user features in the training rows (see `statistics.profile`)."""
    training = pulled.rows(Split.TRAIN)
    return profile(pulled.user.take(training), pulled.contract.user, pulled.seconds[training])


def query_users(towers: Path, pulled: Pulled) -> Array:
    """Embed the users of some of the newest interactions, the queries of the comparison with an approximate index."""
    newest = np.arange(len(pulled.seconds))[-10 * ann_comparison.QUERIES :]
    rows = np.random.default_rng(0).permutation(newest)[: ann_comparison.QUERIES]
    return embed_users(towers, pulled.user.take(rows), pulled.contract, pulled.seconds[rows])


def write_index(
    towers: Path,
    catalogue: Catalogue,
    items: Array,
    users: dict[str, Any] | None,
    folder: Path,
    queries: Array | None = None,
) -> None:
    """Write the index of embedded items and the files that belong to it (see `manifest.File`).

    Args:
        towers: Folder with the ONNX files of both towers.
        catalogue: The catalogue.
        items: Embeddings of its items in their order, float32 [items, dim].
        users: Profile of the user features; None if there is none.
        folder: Receives the index, the items with their features and their popularity (interactions in the last 30
            days), the comparison with an approximate index, the profiles of both towers' features, and the ids of
            recently active users.
        queries: Embeddings of users for that comparison. None: it queries with items.
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = open_session(towers / File.ITEM_TOWER).get_modelmeta().custom_metadata_map
    index.build(items, metadata["similarity"], metadata["embedding_space"], folder / File.INDEX)
    ann_comparison.write(items, metadata["similarity"], folder / File.INDEX, folder / File.ANN_COMPARISON, queries)
    pq.write_table(catalogue.items, folder / File.ITEMS)
    seconds = np.full(catalogue.items.num_rows, int(catalogue.as_of.timestamp()))
    profiles = ({"user": users} if users else {}) | {"item": profile(catalogue.items, catalogue.contract.item, seconds)}
    (folder / File.PROFILE).write_text(json.dumps(profiles, indent=1))
    (folder / File.USERS).write_text(json.dumps(catalogue.users[:MAX_USERS]))
