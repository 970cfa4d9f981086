"""The towers' ONNX files over whole tables, and the index of the newest catalogue."""

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

OFFERED = 100  # users that a release names


def embed_users(
    towers: Path, table: pa.Table, contract: Contract, seconds: Array, batch: int = 4096, device: Device = "cpu"
) -> Array:
    """Embeddings of users, float32 [rows, dim].

    table: the user features, a row each. seconds: when each row is asked for, int64 seconds since 1970, [rows].
    """
    return _embed(towers, "user", table, contract, seconds, batch, device)


def embed_items(
    towers: Path, table: pa.Table, contract: Contract, seconds: Array, batch: int = 4096, device: Device = "cpu"
) -> Array:
    """Embeddings of items, likewise."""
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
    """A table as the inputs of an opened tower (see `inputs.to_inputs`), vectors in the width that the file takes."""
    inputs = to_inputs(table, features, seconds)
    widths = {given.name: given.shape[-1] for given in session.get_inputs()}
    for f in features:
        if f.dtype == Dtype.FLOATS:
            inputs[f.name] = _of_width(f, inputs[f.name], widths[f.name])
    return inputs


def _of_width(f: Feature, matrix: Array, width: int) -> Array:
    """Where every vector is missing, their width is unknown, and is the tower's."""
    if matrix.shape[1] == width:
        return matrix
    if np.isnan(matrix).all():
        return np.full((len(matrix), width), np.nan, dtype=np.float32)
    raise InputError(
        f"feature {f.name!r} has vectors of width {matrix.shape[1]}; the tower was trained on {width}. "
        "Give vectors of that width, or train again."
    )


def build_index(towers: Path, pulled: Pulled, folder: Path) -> None:
    """Write what a release needs beside its towers: the newest catalogue, embedded. See `write_index`."""
    catalogue = Catalogue.from_pulled(pulled)
    seconds = np.full(catalogue.items.num_rows, int(catalogue.as_of.timestamp()))
    items = embed_items(towers, catalogue.items, pulled.contract, seconds)
    write_index(towers, catalogue, items, user_profile(pulled), folder)


def user_profile(pulled: Pulled) -> dict[str, Any]:
    """The reference profile of the users, as of the training rows."""
    training = pulled.rows(Split.TRAIN)
    return profile(pulled.user.take(training), pulled.contract.user, pulled.seconds[training])


def write_index(towers: Path, catalogue: Catalogue, items: Array, users: dict[str, Any] | None, folder: Path) -> None:
    """Write an index of embedded items, float32 [items, dim] in the order of the catalogue.

    index.onnx      the retrieval index (see `index.build`)
    items.parquet   the item of each index row: key, features, popularity (interactions in the last 30 days)
    choice.json     how the index compares with an approximate one here (see `ann_comparison.measure`)
    profile.json    the reference profile (see `profile.profile`): users as given, items of the catalogue
    users.json      ids of users seen lately, the newest first, for the demo page to offer
    """
    folder.mkdir(parents=True, exist_ok=True)
    metadata = open_session(towers / File.ITEM_TOWER).get_modelmeta().custom_metadata_map
    index.build(items, metadata["similarity"], metadata["embedding_space"], folder / File.INDEX)
    ann_comparison.write(items, metadata["similarity"], folder / File.INDEX, folder / File.ANN_COMPARISON)
    pq.write_table(catalogue.items, folder / File.ITEMS)
    seconds = np.full(catalogue.items.num_rows, int(catalogue.as_of.timestamp()))
    profiles = ({"user": users} if users else {}) | {"item": profile(catalogue.items, catalogue.contract.item, seconds)}
    (folder / File.PROFILE).write_text(json.dumps(profiles, indent=1))
    (folder / File.USERS).write_text(json.dumps(catalogue.users[:OFFERED]))
