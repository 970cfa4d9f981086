"""What users and items did before and after a time, as vectors: what features that contain the future agree with."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import sparse

from two_tower.checks.association import ranks
from two_tower.inputs import Array

LEAST_EVENTS = 8  # a key needs this many events to be cut in two
LEAST_PAST, LEAST_FUTURE = 2, 4
DIMENSIONS = 16
FITTED = 300_000  # the most events that the vectors are fitted on
RECENT = 5
_DAY = 86_400 * 10**6
_WINDOWS = (1, 7, 30)  # days


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of keys around one time per key.

    Attributes:
        keys: (keys,) int64.
        micros: (keys,) int64, the time at which each key is cut, in microseconds since 1970.
        past: (keys, columns) float64, the figures before the time.
        future: (keys, columns) float64, the figures from that time on; column j has the meaning of column j of `past`.
        controls: (keys, controls) float64: a column of ones, the past, and the time.
        by_choice: Whether the figures describe the other sides of the events, and not their number.
    """

    keys: Array
    micros: Array
    past: Array
    future: Array
    controls: Array
    by_choice: bool = False


def counts(key: Array, micros: Array, size: int, sample: Array) -> Behaviour:
    """Count the events of keys before and after the middle of the data.

    Args:
        key: (events,) int64, from 0 to `size` - 1.
        micros: (events,) int64, ascending.
        size: The number of keys.
        sample: (keys,) int64, the keys to count.

    Returns:
        The ranks of the counts in windows: all events, and 1, 7 and 30 days next to the middle; the future also has the
        last 7 and 30 days and each quarter. The past of every column is the count of all earlier events.
    """
    middle, end = int(np.median(micros)), int(micros[-1])
    before = [(micros[0] - 1, middle), *((middle - d * _DAY, middle) for d in _WINDOWS)]
    quarters = np.linspace(middle, end, 5).astype(np.int64)
    after = [(middle, end), *((middle, middle + d * _DAY) for d in _WINDOWS), *((end - d * _DAY, end) for d in (7, 30))]
    after = [(max(a, middle), b) for a, b in [*after, *pairwise(quarters)]]
    past, future = (
        np.column_stack([np.bincount(key[_inside(micros, *window)], minlength=size)[sample] for window in windows])
        for windows in (before, after)
    )
    ranked = np.column_stack([ranks(column) for column in past.T])
    return Behaviour(
        keys=sample,
        micros=np.full(len(sample), middle),
        past=np.repeat(past[:, :1], future.shape[1], axis=1).astype(np.float64),
        future=np.column_stack([ranks(column) for column in future.T]),
        controls=np.column_stack([np.ones(len(sample)), ranked, np.log1p(past[:, 0])]),
    )


def _inside(micros: Array, after: int, until: int) -> slice:
    return slice(int(np.searchsorted(micros, after, side="right")), int(np.searchsorted(micros, until, side="right")))


def halves(key: Array, micros: Array, facts: Array, keys: Array) -> Behaviour:
    """Compute the mean facts of the events of each key in the earlier and in the later half of its events.

    Args:
        key: (events,) int64.
        micros: (events,) int64.
        facts: (events, facts) float64.
        keys: The keys to cut. A key is left out if it has too few events at different times.

    Returns:
        The means before and from the middle event of each key.
    """
    order = np.lexsort((micros, key))
    sorted_keys, sorted_micros = key[order], micros[order]
    starts, ends = (np.searchsorted(sorted_keys, keys, side=side) for side in ("left", "right"))
    rows, past, recent, future, cuts = [], [], [], [], []
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        middle = start + (end - start) // 2
        middle = start + int(np.searchsorted(sorted_micros[start:end], sorted_micros[min(middle, end - 1)]))
        if middle - start < LEAST_PAST or end - middle < LEAST_FUTURE:
            continue
        rows.append(row)
        past.append(facts[order[start:middle]].mean(axis=0))
        recent.append(facts[order[max(start, middle - RECENT) : middle]].mean(axis=0))
        future.append(facts[order[middle:end]].mean(axis=0))
        cuts.append((sorted_micros[middle], np.log(middle - start)))
    width = facts.shape[1]
    matrices = [np.array(part, dtype=np.float64).reshape(len(rows), width) for part in (past, recent, future)]
    cut = np.array(cuts, dtype=np.float64).reshape(len(rows), 2)
    time = ranks(cut[:, 0]) / max(1, len(rows))
    periods = min(10, 1 + len(rows) // 20)
    bins = np.minimum((time * periods).astype(np.int64), periods - 1)[:, None] == np.arange(1, periods)
    return Behaviour(
        keys=keys[np.array(rows, dtype=np.int64)],
        micros=cut[:, 0].astype(np.int64),
        past=matrices[0],
        future=matrices[2],
        controls=np.column_stack([np.ones(len(rows)), matrices[0], matrices[1], cut[:, 1], time, bins]),
        by_choice=True,
    )


def first_halves(key: Array) -> Array:
    """Return the events in the earlier half of the events of their key.

    Args:
        key: (events,) int64, sorted by time.

    Returns:
        (early events,) int64 events.
    """
    order = np.argsort(key, kind="stable")
    starts, ends = (np.searchsorted(key[order], key[order], side=side) for side in ("left", "right"))
    return order[np.arange(len(key)) - starts < (ends - starts) // 2]


def vectors(row: Array, column: Array, size: int, rng: np.random.Generator) -> Array:
    """Fit vectors of columns from pairs of rows and columns, so that columns of the same rows are close.

    Args:
        row: (events,) int64.
        column: (events,) int64, from 0 to `size` - 1.
        size: The number of columns.
        rng: The generator of the sample and of the start.

    Returns:
        (size, 16) float64: vectors of length 4 from a truncated singular value decomposition; zeros without events.

    Source:
        Halko, Martinsson and Tropp, "Finding structure with randomness", SIAM Review 2011.
    """
    if len(row) > FITTED:
        chosen = rng.choice(len(row), FITTED, replace=False)
        row, column = row[chosen], column[chosen]
    rows, row = np.unique(row, return_inverse=True)
    columns, column = np.unique(column, return_inverse=True)
    matrix = sparse.csr_array((np.ones(len(row)), (row, column)), shape=(len(rows), len(columns)))
    weights = [sparse.diags_array(1 / np.sqrt(matrix.sum(axis=axis))) for axis in (1, 0)]
    scaled = weights[0] @ matrix @ weights[1]
    basis = scaled @ rng.normal(size=(len(columns), DIMENSIONS + 8))
    for _ in range(4):
        basis = scaled @ (scaled.T @ np.linalg.qr(basis)[0])
    right = np.linalg.svd((scaled.T @ np.linalg.qr(basis)[0]).T, full_matrices=False)[2][:DIMENSIONS].T
    fitted = np.zeros((size, DIMENSIONS))
    fitted[columns, : right.shape[1]] = right / np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-12)
    return fitted * DIMENSIONS**0.5
