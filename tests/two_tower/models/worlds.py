"""Interactions for the tests of the models."""

import numpy as np
from scipy import sparse

from tests.two_tower.timelines import at, timeline
from two_tower.data.seen import Interactions
from two_tower.evaluation.ranking import to_micros
from two_tower.inputs import Array

EVENTS = [
    *[("u", "a", 0), ("v", "a", 0.1), ("w", "a", 0.2), ("u", "b", 0.3), ("v", "b", 0.4), ("w", "c", 0.5)],
    *[("x", "a", 2.5), ("x", "c", 3), ("u", "c", 6)],
]


def interactions(events: list[tuple[str, str, float]], weights: list[float] | None = None) -> Interactions:
    """The interactions of these events (user, item, hour), with items a to d."""
    return Interactions.from_pulled(timeline(events, {1: "", 2: "a b c d", 9: "a b c d"}, 1, 2, weights))


def micros(hour: float) -> int:
    return to_micros(at(hour))


def code(log: Interactions, item: str) -> int:
    return int(log.items.to_pylist().index(item))


def history(log: Interactions, *items: str) -> sparse.csr_array:
    """One history of equal weights."""
    row = np.zeros((1, len(log.items)), np.float32)
    row[0, [code(log, item) for item in items]] = 1
    return sparse.csr_array(row)


def random_log(users: int, items: int, events: int, seed: int = 0) -> Interactions:
    random = np.random.default_rng(seed)
    names = [(f"u{random.integers(users)}", f"i{random.zipf(1.5) % items}", n / 1000) for n in range(events)]
    return interactions(names)


def by_name(log: Interactions, scores: Array) -> dict[str, float]:
    return dict(zip(log.items.to_pylist(), scores.tolist(), strict=True))
