"""Tables of a retrieval index: the item vectors and their quantized codes (`two_tower.retrieval.index` uses them).

The tables are computed in chunks of items, because a catalogue can take half of the memory.
"""

from collections.abc import Callable, Iterator

import numpy as np

from two_tower.inputs import Array
from two_tower.retrieval.index_graph import Similarity
from two_tower.retrieval.selection_graph import BLOCK
from two_tower.retrieval.single_query import Codes

CODED_FROM = 30_000  # items; a smaller catalogue is faster to scan in float32
BYTE_LEVELS = 127
CACHED_BYTES = 16 * 2**20  # codes that fit into the processor's cache have 8 bits: fewer candidates at no cost
CLIPPING = (1.0, 0.9, 0.8, 0.7)  # candidates for the largest code, as shares of the largest component
CHUNK = 65_536  # items per chunk

Chunks = Callable[[], Iterator[tuple[slice, Array]]]  # a range of rows, and the values of those rows


def item_tables(items: Array, similarity: Similarity) -> tuple[dict[str, Array], Codes | None]:
    """Build the tables that the graph scans.

    At least one row of zeros pads the last block. The padding value -1 of `exclude` counts from the end, so it hides
    this row and no item.

    Args:
        items: Item embeddings, `(n, dim)` of any float type.
        similarity: Similarity of the index.

    Returns:
        Tables by name: `items`, `(rows, dim) float32`; for `euclidean` also `offset`, `(rows,) float32`; from
        `CODED_FROM` items also the codes. And the shape of the codes, None if there are none.
    """
    count, dim = items.shape
    rows = count + BLOCK - count % BLOCK
    table = np.zeros((rows, dim), dtype=np.float32)
    tables = {"items": table}
    if similarity == "euclidean":
        tables["offset"] = np.zeros(rows, dtype=np.float32)
    for part in _parts(count):
        chunk = items[part].astype(np.float32)
        if similarity == "cosine":
            chunk /= np.maximum(np.linalg.norm(chunk, axis=1, keepdims=True), 1e-30)
        table[part] = chunk
        if similarity == "euclidean":
            tables["offset"][part] = -0.5 * np.sum(chunk * chunk, axis=1)
    if count < CODED_FROM:
        return tables, None

    def linear() -> Iterator[tuple[slice, Array]]:
        for part in _parts(count):
            offset = [tables["offset"][part]] if similarity == "euclidean" else []
            yield part, np.column_stack([table[part], *offset])

    mean = (sum(chunk.sum(axis=0, dtype=np.float64) for _, chunk in linear()) / count).astype(np.float32)
    norm = max(np.linalg.norm(chunk, axis=1).max() for _, chunk in linear())

    def centred() -> Iterator[tuple[slice, Array]]:
        return ((part, chunk - mean) for part, chunk in linear())

    narrow, codes = _narrow_codes(centred, count, rows, len(mean))
    scalars = {"mean": mean[:, None], "item_norm": np.asarray(norm)}
    return tables | scalars | _byte_codes(centred, rows, len(mean)) | narrow, codes


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def _byte_codes(centred: Chunks, rows: int, dim: int) -> dict[str, Array]:
    """8-bit codes, transposed, with one scale per column; the query is multiplied by the scales."""
    largest = np.max([np.abs(chunk).max(axis=0) for _, chunk in centred()], axis=0)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / BYTE_LEVELS
    stored = np.zeros((dim, rows), dtype=np.int8)
    norm, error = np.float32(0), np.float32(0)
    for part, chunk in centred():
        levels = chunk / scale
        codes = np.rint(levels)
        stored[:, part] = codes.T
        norm = max(norm, np.linalg.norm(codes, axis=1).max())
        error = max(error, np.linalg.norm(levels - codes, axis=1).max())
    return {
        "byte_codes": stored,
        "column_scale": scale,
        "byte_norm": np.asarray(norm),
        "byte_error_norm": np.asarray(error),
    }


def _narrow_codes(centred: Chunks, count: int, rows: int, dim: int) -> tuple[dict[str, Array], Codes]:
    """4-bit codes, two per byte, or 8-bit codes, with one scale per item and group of columns; 0 for padding."""
    width = -(-dim // 16) * 16
    group = next(g for g in (64, 32, 16) if width % g == 0)
    codes = Codes(8 if count * width <= CACHED_BYTES else 4, width, group)
    packed = np.zeros((rows, width // group, group * codes.bits // 8), dtype=np.uint8)
    scales = np.zeros((rows, width // group), dtype=np.float32)
    norm, error = np.float32(0), np.zeros(rows, dtype=np.float32)
    for part, chunk in centred():
        padded = np.pad(chunk, ((0, 0), (0, width - dim)))
        levels, scales[part] = _rounded(padded.reshape(-1, width // group, group), 2 ** (codes.bits - 1))
        decoded = (levels * scales[part][:, :, None]).reshape(-1, width)
        norm = max(norm, np.linalg.norm(decoded, axis=1).max())
        error[part] = np.linalg.norm(padded - decoded, axis=1)
        stored = (levels + 2 ** (codes.bits - 1)).astype(np.uint8)
        packed[part] = stored if codes.bits == 8 else stored[:, :, 0::2] | (stored[:, :, 1::2] << 4)
    tables = {
        "narrow_codes": packed,
        "narrow_scales": scales,
        "narrow_norm": np.asarray(norm),
        "item_error": error.reshape(1, -1, BLOCK),
        "block_error": error.reshape(-1, BLOCK).max(axis=1)[None],
    }
    return tables, codes


def _rounded(groups: Array, levels: int) -> tuple[Array, Array]:
    """Round groups `(n, groups, columns)` to codes from -levels to levels - 1, by the scale of least squared error."""
    largest = np.abs(groups).max(axis=2)
    best = np.full(largest.shape, np.inf, dtype=np.float32)
    codes, scales = np.zeros_like(groups), np.zeros_like(largest)
    for share in CLIPPING:
        scale = np.where(largest > 0, largest, 1).astype(np.float32) * np.float32(share / (levels - 1))
        rounded = np.clip(np.rint(groups / scale[:, :, None]), -levels, levels - 1)
        error = np.square(groups - rounded * scale[:, :, None]).sum(axis=2)
        better = error < best
        codes[better], scales[better], best[better] = rounded[better], scale[better], error[better]
    return codes, scales
