"""Statistical tests for target leakage: features that contain information from after their timestamp.

The tests use feature values at a few times and train no model. Each test detects one kind of leak:

shift      A leaking feature that counts its own event changes just before the event and not after it. A correct
           feature changes just after it. The test uses isolated events (no other event of the same key nearby), so
           that only the event can have changed the feature. The shift is the time before and after: a shift of one
           microsecond detects rows with the timestamp of their own event, and a shift of one day detects daily totals
           with the timestamp of the start of the day.
own item   The history contains the item of the event, although the user had no earlier interaction with it.
future     The value correlates with the number of later events (partial rank correlation, given the number of earlier
           events), as a total over all data does. The baseline is the correlation with permuted future counts.
"""

from dataclasses import dataclass

import numpy as np

from two_tower.inputs import Array

LEAST = 30  # the minimum number of events or keys for a conclusive test
CARRIERS = 10  # the minimum effective number of keys of a correlation; 30 keys with evenly spaced ranks have about 17
MOST_HONEST = 0.5  # a leaking feature changes after the event at most this many times as often as before it
PERMUTATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The result of the shift test of one feature.

    Attributes:
        before: The share of events with a change of the feature in the shift before the event.
        after: The share of events with a change of the feature in the shift after the event.
        events: The number of events.
    """

    before: float
    after: float
    events: int

    def leaks(self, least: float) -> bool:
        """Return whether the feature leaks. `least`: the minimum of `before` for a leak."""
        return self.events >= LEAST and self.before >= least and self.after <= MOST_HONEST * self.before


@dataclass(frozen=True, kw_only=True)
class Future:
    """The result of the future test of one feature.

    Attributes:
        correlation: The absolute partial rank correlation with the number of later events.
        chance: The largest absolute correlation with permuted numbers of later events.
        keys: The number of keys. 0 if the test is inconclusive.
    """

    correlation: float
    chance: float
    keys: int

    def leaks(self, least: float) -> bool:
        """Return whether the feature leaks. `least`: the minimum of `correlation` for a leak."""
        return self.keys >= LEAST and self.correlation >= max(least, self.chance)


def isolated(key: Array, micros: Array, shift: int) -> Array:
    """Return which events have no other event of the same key within two shifts.

    Args:
        key: (events,) int64 codes of the keys. The events are sorted by key, then time, without duplicates.
        micros: (events,) int64, microseconds since 1970.
        shift: The shift in microseconds.

    Returns:
        (events,) bool.
    """
    same = key[1:] == key[:-1]
    near = same & (micros[1:] - micros[:-1] <= 2 * shift)
    alone = np.ones(len(key), dtype=bool)
    alone[1:] &= ~near
    alone[:-1] &= ~near
    return alone


def shifted(earlier: list[object], now: list[object], later: list[object]) -> Shift:
    """Run the shift test of one feature.

    Events with a missing value (None) at one of the three times do not count.

    Args:
        earlier: The value one shift before each event.
        now: The value at each event.
        later: The value one shift after each event.

    Returns:
        The result of the test.
    """
    known = [(a, b, c) for a, b, c in zip(earlier, now, later, strict=True) if None not in (a, b, c)]
    if not known:
        return Shift(before=0.0, after=0.0, events=0)
    before = sum(_differ(a, b) for a, b, _ in known) / len(known)
    after = sum(_differ(b, c) for _, b, c in known) / len(known)
    return Shift(before=before, after=after, events=len(known))


def _differ(a: object, b: object) -> bool:
    return a != b and not (a != a and b != b)  # NaN equals NaN here


def own_item(lists: list[list[object] | None], items: list[object], new: Array) -> tuple[float, int]:
    """Run the own-item test of one history feature.

    Args:
        lists: The history at each event.
        items: The item of each event.
        new: (events,) bool, whether the event is the first of its user with its item. Other events do not count.

    Returns:
        The share of events whose history contains their own item, and the number of events that count.
    """
    leaks = [
        item in items_so_far
        for items_so_far, item, is_new in zip(lists, items, new.tolist(), strict=True)
        if items_so_far and is_new
    ]
    return (float(np.mean(leaks)) if leaks else 0.0), len(leaks)


def future(values: Array, past: Array, following: Array, seed: int = 0) -> Future:
    """Run the future test of one numeric feature.

    Args:
        values: (keys,) float64, the feature at one time; NaN if missing.
        past: (keys, windows) numbers of earlier events in several time windows.
        following: (keys,) number of later events.
        seed: The seed of the permutations.

    Returns:
        The result of the test.
    """
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < LEAST or len(np.unique(values[known])) < 3:
        return Future(correlation=0.0, chance=0.0, keys=0)
    controls = np.column_stack([np.ones(len(known)), *(_ranks(column[known]) for column in past.T)])
    value_residual = _residual(_ranks(values[known]), controls)
    future_residual = _residual(_ranks(following[known]), controls)
    if min(_effective_size(value_residual), _effective_size(future_residual)) < CARRIERS:
        return Future(correlation=0.0, chance=0.0, keys=0)
    rng = np.random.default_rng(seed)
    chance = max(abs(_correlation(value_residual, rng.permutation(future_residual))) for _ in range(PERMUTATIONS))
    return Future(correlation=abs(_correlation(value_residual, future_residual)), chance=chance, keys=len(known))


def _ranks(values: Array) -> Array:
    """Return ranks from 0; equal values have the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[inverse]


def _residual(values: Array, controls: Array) -> Array:
    return np.asarray(values - controls @ np.linalg.lstsq(controls, values, rcond=None)[0])


def _effective_size(residual: Array) -> float:
    """Return the effective number of keys with variance (participation ratio): 1 if one key has all the variance.

    If the past explains all keys but a few, such as one user with a session around the time of the test, these few keys
    alone would produce a high correlation.
    """
    squares = (residual - residual.mean()) ** 2
    fourth = float((squares**2).sum())
    return float(squares.sum() ** 2 / fourth) if fourth > 0 else 0.0


def _correlation(a: Array, b: Array) -> float:
    size = float(np.linalg.norm(a - a.mean()) * np.linalg.norm(b - b.mean()))
    smallest = 1e-9 * len(a) ** 1.5  # rounding error if the past explains the ranks completely
    return float((a - a.mean()) @ (b - b.mean()) / size) if size > smallest else 0.0
