"""Baselines that need no features. Two towers are worth serving if they are better than these.

The settings of each are chosen by recall@20 on the validation window, after a fit on the training window. Then it is
fitted on both windows and ranks the test events.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from math import isqrt
from typing import Any

import numpy as np
from scipy import sparse

from two_tower.data.pulled import Pulled
from two_tower.data.seen import Interactions
from two_tower.evaluation import metrics
from two_tower.evaluation.ranking import Snapshot, Task, rank
from two_tower.inputs import Array
from two_tower.memory import available
from two_tower.models.cooccurrence import Cooccurrence
from two_tower.models.ease import Ease
from two_tower.models.item_knn import ItemKnn
from two_tower.models.model import HistoryModel, positives
from two_tower.models.popularity import Popularity

POPULARITY, EASE = "popularity", "ease"
CHOICE_EVENTS = 2_000  # validation events on which settings are chosen
TUNED_ITEMS = 3_000  # items of EASE while its settings are chosen
EASE_ITEMS = 20_000  # items of EASE when it ranks the test events: 1.6 GB and about four minutes on two cores
BLEND: dict[str, tuple[float, ...]] = {"popularity_weight": (0.1, 0.3, 1.0), "decay": (1.0, 0.9, 0.7, 0.5)}
# The values to try, one setting after the other. Those of BLEND matter most and need no other fit.
SEARCHED: dict[str, tuple[HistoryModel, dict[str, tuple[float, ...]]]] = {
    "item_knn": (ItemKnn(), {**BLEND, "user_power": (0.5,), "shrinkage": (100.0, 1.0), "neighbours": (50, 500)}),
    "cooccurrence": (Cooccurrence(), {**BLEND, "popularity_power": (0.0, 1.0), "reach": (20, 1)}),
    EASE: (Ease(most=TUNED_ITEMS), {**BLEND, "ridge": (1.0, 10.0, 30.0, 0.3)}),
}
WINDOWS = (30.0, 7.0, 1.0, 90.0, 0.0)  # days


@dataclass(frozen=True)
class PopularityScorer:
    """Popularity before each snapshot.

    Attributes:
        model: Settings of the popularity.
        task: The events that are ranked.
        counts: Popularity of all items before each snapshot.
    """

    model: Popularity
    task: Task
    counts: tuple[Array, ...] = field(init=False)

    def __post_init__(self) -> None:
        counts = [self.model.fit(self.task.interactions, s.micros).counts for s in self.task.snapshots]
        object.__setattr__(self, "counts", tuple(counts))

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Score the items of a snapshot; see `Scorer.scores`."""
        return np.tile(self.counts[snapshot.number][snapshot.items], (len(events), 1))


@dataclass(frozen=True)
class HistoryScorer:
    """A fitted model with the history of each event's user, blended with popularity.

    Attributes:
        model: The fitted model.
        popularity: Popularity before each snapshot.
    """

    model: HistoryModel
    popularity: PopularityScorer

    def scores(self, events: Array, snapshot: Snapshot) -> Array:
        """Score the items of a snapshot; see `Scorer.scores`.

        Consecutive events of a user cost only the items that the user has seen in between.
        """
        log = self.popularity.task.interactions
        user, micros = log.user[events], log.micros[events]
        continued = np.r_[False, (user[1:] == user[:-1]) & (micros[1:] >= micros[:-1])]
        since = np.where(continued, np.r_[0, micros[:-1]], log.micros[0])
        position, item = log.seen_positives(events, since)
        count = np.bincount(position, minlength=len(events))
        later = np.repeat(np.cumsum(count), count) - 1 - np.arange(len(item))  # later items of the same event
        weight = (self.model.decay**later).astype(np.float32)
        new = sparse.csr_array((weight, (position, item)), shape=(len(events), len(log.items)))
        scores = np.take(self.model.score(new), snapshot.items, axis=1)
        keep = (self.model.decay**count).astype(np.float32)
        for event in np.flatnonzero(continued):
            scores[event] += keep[event] * scores[event - 1]
        return self.model.blend(scores, self.popularity.counts[snapshot.number][snapshot.items])


@dataclass(frozen=True)
class Choice:
    """The settings of a baseline, chosen on the validation window.

    Attributes:
        model: The model with these settings.
        recall: Its recall@20 on the validation window; None without an event to rank.
        tried: Number of settings that were compared.
        seconds: Time of the comparison.
    """

    model: Any
    recall: float | None
    tried: int
    seconds: float

    def described(self) -> dict[str, Any]:
        """The choice as a JSON object."""
        settings = {f.name: getattr(self.model, f.name) for f in fields(self.model) if f.type in (int, float)}
        return {
            "settings": settings,
            "validation_recall@20": self.recall,
            "tried": self.tried,
            "seconds": round(self.seconds, 1),
        }


def choose(pulled: Pulled, interactions: Interactions, seconds: float) -> dict[str, Choice]:
    """Choose the settings of each baseline on the validation window.

    Args:
        pulled: Pulled tables.
        interactions: Interactions of the pull.
        seconds: Time for the comparisons. The models share it; each compares at least its first settings.

    Returns:
        The choice by name, popularity first.
    """
    until = time.monotonic() + seconds
    task = Task.validation(pulled, interactions, CHOICE_EVENTS)
    chosen = {POPULARITY: _search(task, Popularity(), {"days": WINDOWS}, None, until)}
    popularity = PopularityScorer(chosen[POPULARITY].model, task) if task else None
    for number, (name, (model, values)) in enumerate(SEARCHED.items()):
        now = time.monotonic()
        chosen[name] = _search(task, model, values, popularity, now + (until - now) / (len(SEARCHED) - number))
    return chosen


def choose_popularity(pulled: Pulled, events: int) -> Choice:
    """Choose the window of popularity as `choose` does, on at most `events` validation events."""
    task = Task.validation(pulled, Interactions.from_pulled(pulled), events)
    return _search(task, Popularity(), {"days": WINDOWS}, None, float("inf"))


def scorer(name: str, chosen: Mapping[str, Choice], task: Task, until: int) -> PopularityScorer | HistoryScorer:
    """Fit a baseline and return its scorer.

    Args:
        name: Name of the baseline.
        chosen: Settings of the baselines.
        task: Events to rank.
        until: Microseconds since 1970, the end of the interactions for the fit.
    """
    popularity = PopularityScorer(chosen[POPULARITY].model, task)
    if name == POPULARITY:
        return popularity
    model = chosen[name].model
    if isinstance(model, Ease):
        model = replace(model, most=ease_items())
    return HistoryScorer(model.fit(task.interactions, until), popularity)


def ease_items() -> int:
    """Number of items for which EASE has weights: EASE_ITEMS, or fewer if half of the free memory is too small."""
    return min(EASE_ITEMS, isqrt(available() // 2 // np.dtype(np.float32).itemsize))


def ease_note(interactions: Interactions, until: int) -> str:
    """What EASE does not cover, or empty if it has all items."""
    by_item = -np.sort(-np.bincount(positives(interactions, until)[1]))
    items, most = np.count_nonzero(by_item), ease_items()
    if items <= most:
        return ""
    return (
        f"ease scores the {most:,} most popular of {items:,} items, which have "
        f"{by_item[:most].sum() / by_item.sum():.1%} of the positives. It scores the others by their popularity alone."
    )


def _search(
    task: Task | None,
    model: Any,
    values: Mapping[str, Sequence[float]],
    popularity: PopularityScorer | None,
    until: float,
) -> Choice:
    """Change one setting at a time and keep the value with the better recall, as long as there is time."""
    if task is None:
        return Choice(model, None, 0, 0.0)
    start = time.monotonic()
    before = task.snapshots[0].micros

    def recall(candidate: Any) -> float:
        ranking = rank(task, HistoryScorer(candidate, popularity) if popularity else PopularityScorer(candidate, task))
        return float(metrics.per_user(metrics.recall(ranking.rank, 20), task.user).mean())

    best = model.fit(task.interactions, before)
    highest, tried = recall(best), 1
    for name, value in ((name, value) for name, options in values.items() for value in options):
        if getattr(model, name) == value:
            continue
        if time.monotonic() > until:
            break
        candidate = replace(best, **{name: value})
        if name not in BLEND:
            candidate = candidate.fit(task.interactions, before)
        reached, tried = recall(candidate), tried + 1
        if reached > highest:
            best, highest = candidate, reached
    return Choice(best, highest, tried, time.monotonic() - start)
