"""Ranking metrics for events with one relevant item each, averaged over users, with bootstrap intervals.

All functions take arrays. Rank 0 is the best; the rank of a miss is infinite.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from scipy.special import ndtr, stdtrit

from two_tower.inputs import Array

CUTOFFS = (10, 20, 100)
CONFIDENCE = 0.95
FEWEST = 10  # least number of users for a bootstrap


def ranks(scores: Array, target: Array) -> Array:
    """Compute the rank of each event's item among the allowed items, by counting and without sorting.

    A tie counts half, which is the mean over all orders of the tied items. So a constant score or a popularity count
    gains nothing from its ties.

    Args:
        scores: `(events, items) float32`; minus infinity for an item that is not allowed.
        target: Column of each event's item, `(events,) int64`; -1 if the item is not a candidate.

    Returns:
        `(events,) float64`: the number of items with a higher score plus half the number of other items with an equal
        score. Infinite if the item is not a candidate or not allowed.
    """
    own = scores[np.arange(len(target)), np.maximum(target, 0)]
    assert not np.isnan(own).any(), "a score is not NaN"
    above = _count(scores > own[:, None])
    equal = _count(scores == own[:, None]) - 1
    return np.where((target >= 0) & (own > -np.inf), above + equal / 2, np.inf)


def _count(flags: Array) -> Array:
    """Number of true flags in each row, `(rows,)`."""
    return np.asarray(np.add.reduce(flags.view(np.uint8), axis=1, dtype=np.int32))


def recall(rank: Array, k: int) -> Array:
    """Compute recall@k of each event.

    Args:
        rank: Rank of each event's item, `(events,) float64`.
        k: Cut-off.

    Returns:
        `(events,) float64`: 1 if the item is in the top k, else 0.
    """
    return (rank <= k - 1).astype(np.float64)


def ndcg(rank: Array, k: int) -> Array:
    """Compute NDCG@k of each event.

    Args:
        rank: Rank of each event's item, `(events,) float64`.
        k: Cut-off.

    Returns:
        `(events,) float64`: 1 / log2(rank + 2) if the item is in the top k, else 0.

    Source:
        Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 2002.
    """
    return np.where(rank <= k - 1, 1 / np.log2(rank + 2), 0.0)


def mrr(rank: Array, k: int) -> Array:
    """Compute the reciprocal rank at k of each event.

    Args:
        rank: Rank of each event's item, `(events,) float64`.
        k: Cut-off.

    Returns:
        `(events,) float64`: 1 / (rank + 1) if the item is in the top k, else 0.
    """
    return np.where(rank <= k - 1, 1 / (rank + 1), 0.0)


def per_user(values: Array, user: Array) -> Array:
    """Average values over the events of each user.

    Args:
        values: `(events,)`.
        user: User code of each event, `(events,) int64`.

    Returns:
        `(users,) float64`, in ascending order of the user codes.
    """
    _, number, events = np.unique(user, return_inverse=True, return_counts=True)
    return np.bincount(number, weights=values) / events


def summary(rank: Array, user: Array) -> dict[str, float]:
    """Compute recall, ndcg and mrr at each cut-off: the mean over users of the mean over a user's events.

    Args:
        rank: Rank of each event's item, `(events,) float64`.
        user: User code of each event, `(events,) int64`.

    Returns:
        Metrics by name, such as `recall@20`.
    """
    return {
        f"{metric.__name__}@{k}": float(per_user(metric(rank, k), user).mean())
        for metric in (recall, ndcg, mrr)
        for k in CUTOFFS
    }


def roc(figures: Mapping[str, float], items: int) -> tuple[list[float], list[float], list[float]]:
    """Compute the ROC curve of the decision "the item is in the top k", with one relevant item per event.

    Args:
        figures: Metrics that `summary` returned.
        items: Number of items.

    Returns:
        False positive rates, true positive rates, and k, in ascending order.
    """
    cutoffs = [0, *(k for k in CUTOFFS if k < items), items]
    right = [0.0, *(figures[f"recall@{k}"] for k in cutoffs[1:-1]), 1.0]
    wrong = [(k - recalled) / max(1, items - 1) for k, recalled in zip(cutoffs, right, strict=True)]
    return wrong, right, [float(k) for k in cutoffs]


def interval(values: Array, samples: int, seed: int = 0) -> tuple[float, float]:
    """Compute the 95 % confidence interval of a mean over users by resampling users.

    This is the percentile bootstrap, expanded for small samples. A resample never goes beyond the users in the sample,
    so with fewer than FEWEST users even the expanded interval is too narrow, and Student's t interval replaces it. Pass
    differences for a paired comparison.

    Args:
        values: One value per user, `(users,)`.
        samples: Number of bootstrap samples.
        seed: Seed of the resampling.

    Returns:
        Lower and upper bound; infinite for fewer than two users.

    Source:
        Hesterberg, "What teachers should know about the bootstrap", The American Statistician 2015.
    """
    users = len(values)
    if users < 2:
        return -np.inf, np.inf
    quantile = stdtrit(users - 1, (1 - CONFIDENCE) / 2)  # negative quantile of Student's t
    if users < FEWEST:
        mean, half = float(values.mean()), -quantile * float(values.std(ddof=1)) / sqrt(users)
        return mean - half, mean + half
    random = np.random.default_rng(seed)
    means = [values[random.integers(users, size=users)].mean() for _ in range(samples)]
    tail = ndtr(sqrt(users / (users - 1)) * quantile)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def top(scores: Array, k: int) -> Array:
    """Select the k best allowed items of each event.

    Args:
        scores: `(events, items) float32`; minus infinity for an item that is not allowed.
        k: Number of items per event.

    Returns:
        Columns of the items, one event after the other in a flat array; the order within an event is arbitrary.
    """
    if scores.shape[1] <= k:
        return np.nonzero(scores > -np.inf)[1]
    # Negated, because the selection is ten times slower if many of the smallest values are tied.
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return best[np.take_along_axis(scores, best, axis=1) > -np.inf]
