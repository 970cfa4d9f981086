"""Whether a feature knows what it is to predict, told from its values at a few instants; no model is trained.

Three tests, each with its own kind of leak:

shift      A feature that counts its own event has changed just before it and not after it; an honest one the other way
           round. Looked at on isolated events, those without another of the same key near, so that nothing but the
           event can have changed it. The shift is how far before and after: a microsecond finds rows stamped with
           their own event, a day finds a day's figures stamped with the day's beginning.
own item   A history that holds the very item of the event, although the user had not taken it before.
future     A number whose ranks go with how many events follow (partial rank correlation given how many came before),
           as a sum over all of the data does. Beside it the same with the keys' futures permuted, which is chance.
"""

from dataclasses import dataclass

import numpy as np

from two_tower.inputs import Array

LEAST = 30  # events or keys on which a test must stand
CARRIERS = 10  # keys that must carry a correlation; of 30 keys with even ranks some 17 do
MOST_HONEST = 0.5  # a leak's values change after the event at most this many times as often as before it
PERMUTATIONS = 20


@dataclass(frozen=True, kw_only=True)
class Shift:
    """before, after: share of the events whose feature changed in the time before, and after. events: how many."""

    before: float
    after: float
    events: int

    def leaks(self, least: float) -> bool:
        """least: share of the events in whose time before the feature must have changed."""
        return self.events >= LEAST and self.before >= least and self.after <= MOST_HONEST * self.before


@dataclass(frozen=True, kw_only=True)
class Future:
    """correlation: with the events that follow; chance: the largest of those with permuted futures. keys: how many."""

    correlation: float
    chance: float
    keys: int

    def leaks(self, least: float) -> bool:
        return self.keys >= LEAST and self.correlation >= max(least, self.chance)


def isolated(key: Array, micros: Array, shift: int) -> Array:
    """Which of some events have no other one of their key within two shifts; sorted by key, then time. bool [events].

    key: int64 codes; micros: int64 microseconds; no pair of both twice.
    """
    same = key[1:] == key[:-1]
    near = same & (micros[1:] - micros[:-1] <= 2 * shift)
    alone = np.ones(len(key), dtype=bool)
    alone[1:] &= ~near
    alone[:-1] &= ~near
    return alone


def shifted(earlier: list[object], now: list[object], later: list[object]) -> Shift:
    """The shift test of one feature. Its values, [events] each, at the time of the event less the shift, at it, and
    later; a missing value (None) was not there to change, so that events with one are not counted.
    """
    known = [(a, b, c) for a, b, c in zip(earlier, now, later, strict=True) if None not in (a, b, c)]
    if not known:
        return Shift(before=0.0, after=0.0, events=0)
    before = sum(_differ(a, b) for a, b, _ in known) / len(known)
    after = sum(_differ(b, c) for _, b, c in known) / len(known)
    return Shift(before=before, after=after, events=len(known))


def _differ(one: object, other: object) -> bool:
    return one != other and not (one != one and other != other)  # NaN is NaN here


def own_item(lists: list[list[object] | None], items: list[object], new: Array) -> tuple[float, int]:
    """Share of the events with a list that holds their own item, though it is new to its user, and how many they are.

    lists, items: [events]; new: bool [events].
    """
    told = [item in one for one, item, is_new in zip(lists, items, new.tolist(), strict=True) if one and is_new]
    return (float(np.mean(told)) if told else 0.0), len(told)


def future(values: Array, past: Array, following: Array, seed: int = 0) -> Future:
    """The future test of one number.

    values: float64 [keys], NaN where missing. past: counts of earlier events over several windows, [keys, windows].
    following: how many events follow, [keys].
    """
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < LEAST or len(np.unique(values[known])) < 3:
        return Future(correlation=0.0, chance=0.0, keys=0)
    given = np.column_stack([np.ones(len(known)), *(_ranks(column[known]) for column in past.T)])
    rest = _residual(_ranks(values[known]), given)
    ahead = _residual(_ranks(following[known]), given)
    if min(_carriers(rest), _carriers(ahead)) < CARRIERS:
        return Future(correlation=0.0, chance=0.0, keys=0)
    rng = np.random.default_rng(seed)
    chance = max(abs(_correlation(rest, rng.permutation(ahead))) for _ in range(PERMUTATIONS))
    return Future(correlation=abs(_correlation(rest, ahead)), chance=chance, keys=len(known))


def _ranks(values: Array) -> Array:
    """Ranks from 0, equal values sharing their mean."""
    _, back, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[back]


def _residual(values: Array, given: Array) -> Array:
    return np.asarray(values - given @ np.linalg.lstsq(given, values, rcond=None)[0])


def _carriers(rest: Array) -> float:
    """How many keys carry the variance: all where it is even, 1 where one key has all of it (participation ratio).

    Where the past explains all but a few keys, such as the one user whose session lies across the instant, these alone
    would make any correlation.
    """
    squares = (rest - rest.mean()) ** 2
    fourth = float((squares**2).sum())
    return float(squares.sum() ** 2 / fourth) if fourth > 0 else 0.0


def _correlation(one: Array, other: Array) -> float:
    size = float(np.linalg.norm(one - one.mean()) * np.linalg.norm(other - other.mean()))
    smallest = 1e-9 * len(one) ** 1.5  # what rounding leaves of ranks that the past explains wholly
    return float((one - one.mean()) @ (other - other.mean()) / size) if size > smallest else 0.0
