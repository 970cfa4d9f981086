"""Statistical tests for target leakage: features that contain information from after their timestamp.

The tests use feature values at a few times and train no model. Each test detects one kind of leak:

shift      A leaking feature that counts its own event changes just before the event and not after it. A correct
           feature changes just after it. The test uses isolated events (no other event of the same key nearby), so
           that only the event can have changed the feature. The shift is the time before and after: a shift of one
           microsecond detects rows with the timestamp of their own event, and a shift of one day detects daily totals
           with the timestamp of the start of the day.
own item   The history contains the item of the event, although the user had no earlier interaction with it.
own event  The value tells more about its own event (its item, its user, its rating) than about the event before. A
           correct feature is computed from earlier events or independent of them, so it tells at most as much.
future     The value agrees with later events beyond what the earlier events explain: with their number, as a total
           over all data does, or with the items, users and ratings of the later half of a key's events, as a mean or a
           vector that is learned on all data does. A feature that knows the constant preference of a key, and nothing
           of the future, explains a part of what the earlier events leave, because their means have errors too. The
           limits are above the values of such features. A group, such as the category of an item, can explain nearly
           all of it, and cannot hold the future of a single key: only its separation of keys is tested.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from two_tower.checks import association
from two_tower.checks.behaviour import Behaviour
from two_tower.inputs import Array
from two_tower.schema import Dtype, Feature

LEAST = 30  # the minimum number of events or keys for a conclusive test
MOST_HONEST = 0.5  # a leaking feature changes after the event, and without one, at most this share of times
EXPLAINED = 0.8  # totals and means over all data reach 0.9
EXPLAINED_BY_VECTORS = 0.5  # vectors over all data reach 0.66, honest ones at most 0.38
SEPARATED = 0.99  # a category of later events has this share of pairs in the right order; an honest one up to 0.97
VALUES, VALUES_PER_KEY = 20, 0.1  # fewer different values are those of groups, and not of single keys
BUCKETS = 997
CATEGORIES = 10  # the most frequent categories that are tested for separation


@dataclass(frozen=True, kw_only=True)
class Shift:
    """The result of the shift test of one feature.

    Attributes:
        before: The share of events with a change of the feature in the shift before the event.
        after: The share of events with a change of the feature in the shift after the event.
        idle: The share of times without an event with a change of the feature in the shift before the time. A feature
            that is computed at midnight changes there, with or without an event at midnight. 1 if there are too few
            such times.
        events: The number of events.
    """

    before: float
    after: float
    idle: float
    events: int

    def leaks(self, least: float) -> bool:
        """Return whether the feature leaks. `least`: the minimum of `before` for a leak."""
        changes = max(self.after, self.idle)
        return self.events >= LEAST and self.before >= least and changes <= MOST_HONEST * self.before


@dataclass(frozen=True, kw_only=True)
class OwnEvent:
    """The result of the own-event test of one feature.

    Attributes:
        share: The information on the own event less that on the event before, as a share of the feature's entropy.
        low: The share less three standard errors.
        events: The number of events.
    """

    share: float
    low: float
    events: int


@dataclass(frozen=True, kw_only=True)
class Future:
    """The result of a future test of one feature.

    Attributes:
        share: The share of the variance that later events explain, given the earlier events.
        low: The share less three standard errors.
        separation: For categories, the share of pairs that later events have in the right order. 0.5 by chance.
        keys: The number of keys. 0 if the test is inconclusive.
        limit: The maximum of `low` of a feature without future information.
    """

    share: float
    low: float
    separation: float
    keys: int
    limit: float = EXPLAINED

    @property
    def leaks(self) -> bool:
        """Whether the feature leaks."""
        return self.low > self.limit or self.separation > SEPARATED


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


def shifted(
    earlier: list[object], now: list[object], later: list[object], idle_earlier: list[object], idle: list[object]
) -> Shift:
    """Run the shift test of one feature.

    Events with a missing value (None) at one of the three times do not count.

    Args:
        earlier: The value one shift before each event.
        now: The value at each event.
        later: The value one shift after each event.
        idle_earlier: The value one shift before each time without an event.
        idle: The value at each time without an event.

    Returns:
        The result of the test.
    """
    known = [(a, b, c) for a, b, c in zip(earlier, now, later, strict=True) if None not in (a, b, c)]
    quiet = [_differ(a, b) for a, b in zip(idle_earlier, idle, strict=True) if None not in (a, b)]
    if not known:
        return Shift(before=0.0, after=0.0, idle=0.0, events=0)
    before = sum(_differ(a, b) for a, b, _ in known) / len(known)
    after = sum(_differ(b, c) for _, b, c in known) / len(known)
    unexpected = sum(quiet) / len(quiet) if len(quiet) >= LEAST else 1.0
    return Shift(before=before, after=after, idle=unexpected, events=len(known))


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


def own_event(values: Array, now: Array, previous: Array) -> OwnEvent:
    """Run the own-event test of one feature.

    Args:
        values: (events,) int64, the value at each event as a category.
        now: (events,) int64, a label of each event, such as its item.
        previous: (events,) int64, the label of the event before of the same key.

    Returns:
        The result of the test.
    """
    values, now, previous = (codes % BUCKETS for codes in (values, now, previous))  # so that each has several events
    entropy = association.entropy(values)
    if len(values) < LEAST or entropy < 0.1:
        return OwnEvent(share=0.0, low=0.0, events=len(values))
    gain = (association.information(values, now) - association.information(values, previous)) / entropy
    share = float(gain.mean())
    return OwnEvent(
        share=share, low=share - association.ERRORS * float(gain.std()) / len(gain) ** 0.5, events=len(gain)
    )


def future(values: pa.ChunkedArray, f: Feature, behaviour: Behaviour) -> Future:
    """Run the future test of one feature.

    Args:
        values: (keys,) the feature at the time of each key.
        f: The feature.
        behaviour: What the keys did before and after the time.

    Returns:
        The result of the test.
    """
    known = values.is_valid().to_numpy()
    past, later, controls = (m[known] for m in (behaviour.past, behaviour.future, behaviour.controls))
    values = values.filter(pa.array(known))
    result = association.explained(association.columns(values, f), controls, later)
    separation = 0.5
    if result.rows and f.is_discrete and f.dtype not in (Dtype.STRINGS, Dtype.INTS):
        codes = association.codes(values, f)
        frequent = np.argsort(-np.bincount(codes), kind="stable")[:CATEGORIES]
        separation = max(
            association.separation(codes == code, past[:, column], later[:, column])
            for code in frequent
            for column in range(later.shape[1])
        )
    limit = EXPLAINED_BY_VECTORS if f.dtype == Dtype.FLOATS else EXPLAINED
    if behaviour.by_choice and _is_group(values, f):
        limit = 1.0
    return Future(share=result.share, low=result.low, separation=separation, keys=result.rows, limit=limit)


def _is_group(values: pa.ChunkedArray, f: Feature) -> bool:
    """Return whether the values are those of groups of keys: categories, or few different numbers."""
    if f.is_discrete or f.dtype == Dtype.FLOATS:
        return f.is_discrete
    return len(values.unique()) < max(VALUES, VALUES_PER_KEY * len(values))
