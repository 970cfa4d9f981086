"""The towers' ONNX files over whole tables, and the index of the newest catalogue."""

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower import index
from two_tower.errors import InputError
from two_tower.inputs import Array, to_inputs
from two_tower.profile import profile
from two_tower.pulled import EVENT_TIMESTAMP, Pulled, Split
from two_tower.runtime import Device, open_session
from two_tower.schema import EMBEDDING, POPULARITY, Contract, Encoding, Feature, TowerName

POPULARITY_WINDOW = timedelta(days=30)


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
        if f.encoding == Encoding.VECTOR:
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
    """Write what a release needs beside its towers: the newest catalogue, embedded.

    index.onnx      the retrieval index (see `index.build`)
    items.parquet   the item of each index row: key, features, popularity (interactions in the last 30 days)
    profile.json    the reference profile (see `profile.profile`): users as of the training rows, items of the catalogue
    """
    folder.mkdir(parents=True, exist_ok=True)
    contract, as_of = pulled.contract, pulled.bounds.as_of
    catalogue = pulled.catalogue_at(as_of)
    seconds = np.full(catalogue.num_rows, int(as_of.timestamp()))
    items = embed_items(towers, catalogue, contract, seconds)
    metadata = open_session(towers / "item_tower.onnx").get_modelmeta().custom_metadata_map
    index.build(items, metadata["similarity"], metadata["embedding_space"], folder / "index.onnx")
    pq.write_table(catalogue.append_column(POPULARITY, popularity(pulled)), folder / "items.parquet")
    training = pulled.rows(Split.TRAIN)
    profiles = {
        "user": profile(pulled.user.take(training), contract.user, pulled.seconds[training]),
        "item": profile(catalogue, contract.item, seconds),
    }
    (folder / "profile.json").write_text(json.dumps(profiles, indent=1))


def popularity(pulled: Pulled) -> pa.Array:
    """Interactions of each item of the newest catalogue in the 30 days up to as_of, float64 [items]."""
    key, as_of = pulled.contract.item_key, pulled.bounds.as_of
    since = pa.scalar(as_of - POPULARITY_WINDOW, type=pulled.interactions.schema.field(EVENT_TIMESTAMP).type)
    recent = pulled.interactions.filter(pc.greater(pulled.interactions[EVENT_TIMESTAMP], since))
    counts = recent[key].value_counts()
    place = pc.index_in(pulled.catalogue_at(as_of)[key], value_set=counts.field("values"))
    return counts.field("counts").take(place.combine_chunks()).fill_null(0).cast(pa.float64())
