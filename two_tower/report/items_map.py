"""Map of the catalogue: each item is a point in the plane, with its nearest neighbours in the embedding space."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from two_tower.data.pulled import Pulled
from two_tower.inputs import Array
from two_tower.releases.item_index import embed_items
from two_tower.schema import Dtype

MOST_ITEMS = 10_000
MOST_COLUMNS = 6
NEIGHBOURS = 5
LONGEST = 60  # characters; longer values are cut
BLOCK = 2_000  # items per block of the neighbour search
_SHOWN = frozenset(Dtype) - {Dtype.INTS, Dtype.FLOATS, Dtype.TIMESTAMP}


def items_map(towers: Path, pulled: Pulled) -> dict[str, Any]:
    """Compute the data of the map, as values for JSON.

    A catalogue of more than 10,000 items is sampled at even steps.

    Args:
        towers: Folder with item_tower.onnx.
        pulled: Pulled tables.

    Returns:
        With one entry per item: `id`; `x` and `y`, the first two principal components, scaled to -1 to 1; `near`, the
        positions of the 5 nearest items; `columns`, values by feature name, without the id. `explained`: share of the
        variance in the plane. `of`: size of the catalogue.
    """
    table = pulled.catalogue_at(pulled.bounds.as_of)
    of = table.num_rows
    table = table.take(np.unique(np.linspace(0, of - 1, min(of, MOST_ITEMS)).astype(np.int64)))
    seconds = np.full(table.num_rows, int(pulled.bounds.as_of.timestamp()))
    embeddings = embed_items(towers, table, pulled.contract, seconds)
    plane, explained = project(embeddings)
    key = table[pulled.contract.item_key]
    features = [f for f in pulled.contract.item if f.dtype in _SHOWN and not table[f.name].equals(key)]
    return {
        "id": [str(value) for value in key.to_pylist()],
        "x": np.round(plane[:, 0], 4).tolist(),
        "y": np.round(plane[:, 1], 4).tolist(),
        "near": neighbours(embeddings).tolist(),
        "columns": {f.name: _values(table[f.name]) for f in features[:MOST_COLUMNS]},
        "explained": explained,
        "of": of,
    }


def project(embeddings: Array) -> tuple[Array, float]:
    """Compute the first two principal components.

    Args:
        embeddings: `(items, dim) float32`.

    Returns:
        Components, `(items, 2) float32`, scaled to -1 to 1, and their share of the variance.
    """
    centred = embeddings - embeddings.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T.astype(np.float64) @ centred)
    plane = centred @ vectors[:, ::-1][:, :2]
    if plane.shape[1] < 2:  # embeddings of one dimension
        plane = np.pad(plane, ((0, 0), (0, 1)))
    largest, total = float(np.abs(plane).max(initial=0.0)), float(values.sum())
    return plane / (largest or 1.0), float(values[::-1][:2].sum() / total) if total > 0 else 1.0


def neighbours(embeddings: Array) -> Array:
    """Find the nearest items of each item by cosine, without the item itself.

    Args:
        embeddings: `(items, dim) float32`.

    Returns:
        Rows, `(items, at most 5) int64`, the nearest first.
    """
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), 1e-30)
    k = min(NEIGHBOURS, len(unit) - 1)
    nearest = []
    for start in range(0, len(unit), BLOCK):
        scores = unit[start : start + BLOCK] @ unit.T
        rows = np.arange(len(scores))
        scores[rows, start + rows] = -np.inf
        best = np.argpartition(-scores, max(0, k - 1), axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        nearest.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(nearest)


def _values(column: pa.ChunkedArray) -> list[Any]:
    return [_value(value) for value in column.to_pylist()]


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(map(str, value))[:LONGEST]
    if isinstance(value, float):
        return round(value, 4) if np.isfinite(value) else None
    return value[:LONGEST] if isinstance(value, str) else value
