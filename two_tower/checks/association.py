"""How much one set of variables tells of another: statistics of categories, numbers and vectors for the leak tests."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from two_tower.inputs import Array, column_to_input
from two_tower.schema import MISSING_INT, Dtype, Feature

TOP = 20  # the most frequent categories or list elements that have a column of their own
WIDTH = 32  # the most dimensions of a vector
LEAST = 30  # the minimum number of rows of `explained`
CARRIERS = 5  # the minimum effective number of rows that carry a correlation
ERRORS = 3  # standard errors below an estimate
_FOLDS, _RIDGE = 5, 0.05
_BINS = 32
_REACH, _LEAST_PAIRS = 5, 100


@dataclass(frozen=True, kw_only=True)
class Explained:
    """The share of a variable's variance that another one explains.

    Attributes:
        share: The squared correlation on rows that were not fitted.
        low: The share less three standard errors.
        rows: The number of rows. 0 if the test is inconclusive.
    """

    share: float
    low: float
    rows: int


def columns(values: pa.ChunkedArray, f: Feature) -> Array:
    """Encode a feature as numbers for linear models.

    Args:
        values: (rows,) values of the feature.
        f: The feature.

    Returns:
        (rows, columns) float64: the rank, the number and whether it is missing; or the elements of a vector; or whether
        each of the most frequent categories or list elements occurs.
    """
    if f.dtype == Dtype.FLOATS:
        return principal(np.nan_to_num(column_to_input(values, f).astype(np.float64)), WIDTH)
    if not f.is_discrete:
        numbers = _numbers(values, f)
        missing = np.isnan(numbers)
        filled = np.where(missing, numbers[~missing].mean() if not missing.all() else 0.0, numbers)
        return np.column_stack([ranks(filled), filled, missing])
    lists = pd.Series(values.to_pylist(), dtype=object).map(lambda v: v if isinstance(v, list) else [v])
    top = lists.explode().dropna().value_counts().index[:TOP]
    sets = [set(v) for v in lists]
    return np.array([[element in elements for element in top] for elements in sets], dtype=np.float64).reshape(
        len(sets), len(top)
    )


def codes(values: pa.ChunkedArray, f: Feature) -> Array:
    """Encode a feature as categories.

    Args:
        values: (rows,) values of the feature.
        f: The feature.

    Returns:
        (rows,) int64: categories; the last element of lists; numbers in quantile bins; vectors by the signs of their
        first principal components.
    """
    if f.dtype == Dtype.FLOATS:
        parts = principal(np.nan_to_num(column_to_input(values, f).astype(np.float64)), 5)
        return np.asarray((parts > np.median(parts, axis=0)) @ (1 << np.arange(parts.shape[1])))
    if f.is_discrete:
        plain = pd.Series(values.to_pylist(), dtype=object).map(lambda v: v[-1] if isinstance(v, list) and v else v)
        return np.asarray(pd.factorize(plain.map(str))[0])
    return binned(_numbers(values, f))


def binned(numbers: Array, bins: int = _BINS) -> Array:
    """Return the quantile bin of each number; missing numbers have a bin of their own. (rows,) int64."""
    known = numbers[~np.isnan(numbers)]
    edges = np.unique(np.quantile(known, np.arange(1, bins) / bins)) if len(known) else np.zeros(0)
    return np.where(np.isnan(numbers), len(edges) + 1, np.searchsorted(edges, numbers, side="right"))


def _numbers(values: pa.ChunkedArray, f: Feature) -> Array:
    numbers = column_to_input(values, f).astype(np.float64)
    numbers[numbers == MISSING_INT] = np.nan
    return np.asarray(numbers)


def principal(matrix: Array, most: int) -> Array:
    """Return the first principal components; (rows, at most `most`)."""
    centred = matrix - matrix.mean(axis=0)
    if matrix.shape[1] <= most:
        return centred
    return np.asarray(centred @ np.linalg.svd(centred, full_matrices=False)[2][:most].T)


def information(category: Array, label: Array) -> Array:
    """Return how many bits each category tells of its label, estimated from the other rows.

    Args:
        category: (rows,) int64.
        label: (rows,) int64.

    Returns:
        (rows,) float64: the logarithm of the label's share among the other rows of its category over its share among
        all rows. Half of the estimate is the share among all rows, so that a row loses at most one bit.
    """
    label = np.unique(label, return_inverse=True)[1]
    category = np.unique(category, return_inverse=True)[1]
    share = np.bincount(label)[label] / len(label)
    others = np.bincount(category)[category] - 1
    _, pair, counts = np.unique(category * (label.max() + 1) + label, return_inverse=True, return_counts=True)
    among = np.where(others > 0, (counts[pair] - 1) / np.maximum(others, 1), share)
    return np.asarray(np.log2(0.5 * among / share + 0.5))


def entropy(category: Array) -> float:
    """Return the entropy of categories in bits."""
    shares = np.unique(category, return_counts=True)[1] / len(category)
    return float(-(shares * np.log2(shares)).sum())


def explained(feature: Array, controls: Array, target: Array, seed: int = 0) -> Explained:
    """Measure how well a feature and a target agree beyond the controls.

    A pair of directions, one in the columns of the feature and one in those of the target, is fitted on four fifths of
    the rows (ridge canonical correlation) and measured on the others.

    Args:
        feature: (rows, columns) float64.
        controls: (rows, controls) float64; what both are given, with a column of ones.
        target: (rows, columns) float64.
        seed: The seed of the folds.

    Returns:
        The squared partial correlation of the two directions.

    Source:
        Hotelling, "Relations between two sets of variates", Biometrika 1936.
    """
    unknown = Explained(share=0.0, low=0.0, rows=0)
    n = len(feature)
    if n < LEAST or n < 3 * controls.shape[1]:
        return unknown
    x, y = (_residual(matrix, controls) for matrix in (feature, target))
    if not x.shape[1] or not y.shape[1]:
        return unknown
    fold = np.random.default_rng(seed).permutation(n) % _FOLDS
    scores = np.zeros((2, n))
    for k in range(_FOLDS):
        fit, held = fold != k, fold == k
        directions = _directions(x[fit], y[fit])
        for row, (matrix, direction) in enumerate(zip((x, y), directions, strict=True)):
            score = matrix[held] @ direction
            spread = score.std()
            scores[row, held] = (score - score.mean()) / spread if spread > 0 else 0.0
    correlation = max(0.0, float((scores[0] * scores[1]).mean()))
    share = min(1.0, correlation**2)
    error = 2 * correlation * (1 - share) / (n - controls.shape[1]) ** 0.5
    return Explained(share=share, low=share - ERRORS * error, rows=n)


def _residual(matrix: Array, controls: Array) -> Array:
    """Return what the controls leave of each column, with unit variance; columns that few rows carry are left out."""
    scale = matrix.std(axis=0)
    matrix = matrix[:, scale > 0] / scale[scale > 0]
    left = matrix - controls @ np.linalg.lstsq(controls, matrix, rcond=None)[0]
    spread = left.std(axis=0)
    kept = (spread > 1e-6) & (_effective_size(left) >= CARRIERS)
    return np.asarray(left[:, kept] / spread[kept])


def _directions(x: Array, y: Array) -> tuple[Array, Array]:
    """Return the pair of directions with the highest ridge canonical correlation."""
    whiten = [np.linalg.cholesky(np.linalg.inv(m.T @ m + _RIDGE * len(m) * np.eye(m.shape[1]))) for m in (x, y)]
    left, _, right = np.linalg.svd(whiten[0].T @ (x.T @ y) @ whiten[1], full_matrices=False)
    return whiten[0] @ left[:, 0], whiten[1] @ right[0]


def _effective_size(residual: Array) -> Array:
    """Return the effective number of rows with variance in each column (participation ratio): 1 for a single row.

    If the controls explain all rows but a few, such as one user with a session around the time of the test, these few
    rows alone would produce a high correlation.
    """
    squares = (residual - residual.mean(axis=0)) ** 2
    return np.asarray(squares.sum(axis=0) ** 2 / np.maximum((squares**2).sum(axis=0), 1e-300))


def separation(category: Array, control: Array, target: Array) -> float:
    """Measure how sharply a target separates one category from the others among rows with a similar control.

    Args:
        category: (rows,) bool.
        control: (rows,) float64.
        target: (rows,) float64.

    Returns:
        The share of pairs, one row of the category and one other row at most five ranks of the control apart, in which
        the row of the category has the higher target, or the lower one if these are more; equal targets count half. 0.5
        if the control alone separates the category: with less than a quarter of the pairs that independence gives.
    """
    order = np.lexsort((np.random.default_rng(0).random(len(control)), control))
    category, target = category[order], target[order]
    higher, pairs = 0.0, 0
    for step in range(1, _REACH + 1):
        differs = category[step:] != category[:-step]
        difference = np.where(category[step:], 1, -1) * (target[step:] - target[:-step])
        higher += float((difference[differs] > 0).sum() + 0.5 * (difference[differs] == 0).sum())
        pairs += int(differs.sum())
    independent = 2 * category.mean() * (1 - category.mean()) * _REACH * len(category)
    return max(higher, pairs - higher) / pairs if pairs >= max(_LEAST_PAIRS, independent / 4) else 0.5


def ranks(values: Array) -> Array:
    """Return ranks from 0; equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]
