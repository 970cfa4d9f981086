"""The tables of a retrieval index: the items, and their codes (see `two_tower.retrieval.index` for what they are for).

Made a chunk of items at a time, for a catalogue may take half of the memory by itself.
"""

from collections.abc import Callable, Iterator

import numpy as np

from two_tower.inputs import Array
from two_tower.retrieval.index_graph import Similarity
from two_tower.retrieval.selection_graph import BLOCK
from two_tower.retrieval.single_query import Codes

CODED_FROM = 30_000  # items from which codes are faster than float32
BYTE_LEVELS = 127
CACHED_BYTES = 16 * 2**20  # codes that stay in a processor's cache are of 8 bits: fewer candidates, at no cost
CLIPPING = (1.0, 0.9, 0.8, 0.7)  # shares of an item's largest component that are tried as the largest code
CHUNK = 65_536  # items coded at a time

Chunks = Callable[[], Iterator[tuple[slice, Array]]]  # rows, and those rows of a table


def item_tables(items: Array, similarity: Similarity) -> tuple[dict[str, Array], Codes | None]:
    """The items float [n, dim] as float32 [rows, dim], for euclidean their offsets, and codes where they are enough.

    One row or more of zeros is added, to whole blocks: the padding -1 of `exclude`, which counts from the end, hides no
    item.
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

    narrow, codes = _narrow(centred, count, rows, len(mean))
    scalars = {"mean": mean[:, None], "item_norm": np.asarray(norm)}
    return tables | scalars | _bytes(centred, rows, len(mean)) | narrow, codes


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def _bytes(centred: Chunks, rows: int, dim: int) -> dict[str, Array]:
    """Codes of 8 bits, transposed, with one scale a column, which is folded into the query."""
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


def _narrow(centred: Chunks, count: int, rows: int, dim: int) -> tuple[dict[str, Array], Codes]:
    """Codes of 4 bits, two a byte, or of 8, with one scale a group of columns of each item; padding has scales of 0."""
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
    """Codes of -levels to levels - 1, and scales, of groups [n, groups, columns]; each as clipping errs least."""
    largest = np.abs(groups).max(axis=2)
    best = np.full(largest.shape, np.inf, dtype=np.float32)
    codes, scales = np.zeros_like(groups), np.zeros_like(largest)
    for share in CLIPPING:
        scale = np.where(largest > 0, largest, 1).astype(np.float32) * np.float32(share / (levels - 1))
        tried = np.clip(np.rint(groups / scale[:, :, None]), -levels, levels - 1)
        error = np.square(groups - tried * scale[:, :, None]).sum(axis=2)
        better = error < best
        codes[better], scales[better], best[better] = tried[better], scale[better], error[better]
    return codes, scales
