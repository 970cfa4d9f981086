"""Ranking metrics of events that have one right item each, averaged over users, with bootstrap intervals.

Everything here is a function of arrays. A rank is 0 for the best place and infinite for a miss.
"""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from scipy.special import ndtr, stdtrit

from two_tower.inputs import Array

CUTOFFS = (10, 20, 100)
CONFIDENCE = 0.95
FEWEST = 10  # users that a bootstrap needs


def ranks(scores: Array, target: Array) -> Array:
    """The place of each event's item among the allowed ones, counted without sorting.

    scores: [events, items]; minus infinity marks an item that is not allowed.
    target: column of the event's item, [events]; -1 where it is no candidate.
    Returns float64 [events]: the number of items with a higher score plus half the number of other items with an equal
    one, which is the mean over all orders of the tied, so that neither a constant score nor a popularity count gains by
    its ties. Infinite where the item is no candidate or not allowed.
    """
    own = scores[np.arange(len(target)), np.maximum(target, 0)]
    assert not np.isnan(own).any(), "a score is a number"
    above = _count(scores > own[:, None])
    equal = _count(scores == own[:, None]) - 1
    return np.where((target >= 0) & (own > -np.inf), above + equal / 2, np.inf)


def _count(flags: Array) -> Array:
    """How many are true in each row, [rows]."""
    return np.asarray(np.add.reduce(flags.view(np.uint8), axis=1, dtype=np.int32))


def recall(rank: Array, k: int) -> Array:
    """1 where the item's place is among the first k, else 0; [events]."""
    return (rank <= k - 1).astype(np.float64)


def ndcg(rank: Array, k: int) -> Array:
    """1 / log2(place + 1), places from 1, within the first k, else 0; [events] (Järvelin & Kekäläinen, 2002)."""
    return np.where(rank <= k - 1, 1 / np.log2(rank + 2), 0.0)


def mrr(rank: Array, k: int) -> Array:
    """1 / place, places from 1, within the first k, else 0; [events]."""
    return np.where(rank <= k - 1, 1 / (rank + 1), 0.0)


def per_user(values: Array, user: Array) -> Array:
    """The mean over each user's events; users in ascending order of their codes, [users]."""
    _, number, events = np.unique(user, return_inverse=True, return_counts=True)
    return np.bincount(number, weights=values) / events


def summary(rank: Array, user: Array) -> dict[str, float]:
    """recall, ndcg and mrr at every cut-off: events of a user averaged first, then users."""
    return {
        f"{metric.__name__}@{k}": float(per_user(metric(rank, k), user).mean())
        for metric in (recall, ndcg, mrr)
        for k in CUTOFFS
    }


def roc(figures: Mapping[str, float], items: int) -> tuple[list[float], list[float], list[float]]:
    """The curve of the decision "belongs to the first k", at every cut-off; an event has one right item of so many.

    figures: of `summary`. Returns the shares of wrong items taken, the shares of right ones, and k, ascending.
    """
    cutoffs = [0, *(k for k in CUTOFFS if k < items), items]
    right = [0.0, *(figures[f"recall@{k}"] for k in cutoffs[1:-1]), 1.0]
    wrong = [(k - taken) / max(1, items - 1) for k, taken in zip(cutoffs, right, strict=True)]
    return wrong, right, [float(k) for k in cutoffs]


def interval(values: Array, samples: int, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of `values`, one a user, by resampling users.

    The percentile bootstrap, expanded for small samples as Hesterberg (2015, "What teachers should know about the
    bootstrap") proposes. No resample lies beyond the users at hand, so that below FEWEST users even this is too narrow,
    and Student's interval stands in. One user says nothing about the others: infinite. Pass differences for a paired
    comparison.
    """
    users = len(values)
    if users < 2:
        return -np.inf, np.inf
    quantile = stdtrit(users - 1, (1 - CONFIDENCE) / 2)  # of Student's t, below 0
    if users < FEWEST:
        mean, half = float(values.mean()), -quantile * float(values.std(ddof=1)) / sqrt(users)
        return mean - half, mean + half
    random = np.random.default_rng(seed)
    means = [values[random.integers(users, size=users)].mean() for _ in range(samples)]
    tail = ndtr(sqrt(users / (users - 1)) * quantile)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def top(scores: Array, k: int) -> Array:
    """Columns of each event's k best allowed items, in no order, flat: all events' lists one after the other."""
    if scores.shape[1] <= k:
        return np.nonzero(scores > -np.inf)[1]
    # Of the negated scores, for the selection is ten times slower where many of those it passes over are tied.
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return best[np.take_along_axis(scores, best, axis=1) > -np.inf]
