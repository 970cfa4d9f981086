"""The leak gate: find features of a repository that contain future information, with the tests of `leak_tests`."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureStore

from two_tower.checks import leak_tests
from two_tower.data import sources
from two_tower.data.historical import historical_features
from two_tower.data.repository import apply, contract, open_store, service, split_method, view
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.inputs import Array, column_to_input
from two_tower.schema import (
    INTERACTIONS_VIEW,
    ITEM_SERVICE,
    MISSING_INT,
    USER_SERVICE,
    Contract,
    Dtype,
    Encoding,
    Feature,
    TowerName,
)

EVENTS = 1500  # the sample size of each test
_SECOND = 10**6
SHIFTS = {  # the shift in microseconds, and the share of isolated events that a leak changes in the shift before
    "microsecond": (1, 0.3),
    "second": (_SECOND, 0.3),
    "hour": (3600 * _SECOND, 0.8),
    "day": (86_400 * _SECOND, 0.8),
    "week": (7 * 86_400 * _SECOND, 0.8),
}
OWN_ITEM = 0.05  # the maximum share of events on new items with a history that already contains the item
FUTURE = 0.7  # the partial rank correlation with the number of later events from which a feature leaks
_WINDOWS = (1, 7, 30)  # days before the middle of the data; the event counts of these windows are control variables
_SERVICES: dict[TowerName, str] = {"user": USER_SERVICE, "item": ITEM_SERVICE}
KNOWN_AHEAD = "known_ahead"
_NOT_RUN = {"features": [], "inconclusive": ["any feature: all tests need the times of the interactions"]}
_NUMBERS = (Dtype.INT64, Dtype.FLOAT32, Dtype.FLOAT64, Dtype.TIMESTAMP)


@dataclass(frozen=True)
class _Events:
    """Interactions, sorted by time.

    Attributes:
        user: (events,) int64 rows of `users`.
        item: (events,) int64 rows of `items`.
        users: (users,) user keys.
        items: (items,) item keys.
        micros: (events,) int64, microseconds since 1970.
        new: (events,) bool, whether the event is the first of its user with its item.
    """

    user: Array
    item: Array
    users: pa.Array
    items: pa.Array
    micros: Array
    new: Array

    def codes(self, tower: TowerName) -> Array:
        return self.user if tower == "user" else self.item

    def keys(self, tower: TowerName) -> pa.Array:
        return self.users if tower == "user" else self.items


def check(
    repo: Path,
    as_of: datetime | None = None,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Verdict:
    """Test all features of a feature repository for leaks.

    The tests read each feature of both feature services at a sample of the interactions and at times around them. The
    gate never fails for a field with the tag `known_ahead=true`; the tests still measure it. All tests need the times
    of the interactions: with the split `per_user` none of them runs.

    Args:
        repo: The folder of the Feast feature repository.
        as_of: Later interactions are ignored. None: all interactions.
        seed: The seed of the samples.
        progress: Called before each test with its name, its number, and the number of tests.

    Returns:
        The verdict of the gate `leaks`. Its details are `events` (the number of interactions), `features` (one result
        per feature and test) and `inconclusive` (the tests with too few events).

    Raises:
        InputError: If the definitions are not valid (see `features.apply` and `features.contract`), or there are no
            interactions.
    """
    apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        schema = contract(store)
        events = _events(store, schema, as_of)
        if split_method(store) == "per_user":
            return Verdict(gate="leaks", passed=True, reasons=(), details=_NOT_RUN | {"events": len(events.micros)})
        results = []
        for number, (tower, (name, test)) in enumerate(itertools.product(_SERVICES, _TESTS.items()), start=1):
            progress(f"{tower} features: {name}", number, len(_SERVICES) * len(_TESTS))
            results += test(store, schema, tower, events, np.random.default_rng(seed))
        known_ahead = _known_ahead(store)
    for result in results:
        result["leaks"] &= (result["view"], result["feature"]) not in known_ahead
    reasons = tuple(_sentence(result) for result in _worst(results))
    return Verdict(
        gate="leaks",
        passed=not reasons,
        reasons=reasons,
        details={
            "events": len(events.micros),
            "features": results,
            "inconclusive": sorted({f"{r['test']} {r['shift']}".strip() for r in results if not r["conclusive"]}),
        },
    )


def _worst(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first leak of each feature: the one with the shortest shift is the most specific."""
    firsts: dict[tuple[str, str], dict[str, Any]] = {}
    for result in results:
        if result["leaks"]:
            firsts.setdefault((result["view"], result["feature"]), result)
    return list(firsts.values())


def _events(store: FeatureStore, schema: Contract, as_of: datetime | None) -> _Events:
    source = view(store, INTERACTIONS_VIEW, "the leak tests read its rows")
    table = sources.read(store, source, [schema.user_key, schema.item_key], until=as_of)
    stamp = source.batch_source.timestamp_field
    micros = sources.cast(table[stamp], stamp, Dtype.TIMESTAMP).cast(pa.int64()).to_numpy()
    order = np.argsort(micros, kind="stable")
    if not len(order):
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has no rows. The leak tests need events: check its source."
        )
    user, item = (table[k].combine_chunks().dictionary_encode() for k in (schema.user_key, schema.item_key))
    users, items = (np.asarray(c.indices).astype(np.int64)[order] for c in (user, item))
    new = np.zeros(len(order), dtype=bool)
    new[np.unique(users * (len(item.dictionary) + 1) + items, return_index=True)[1]] = True
    return _Events(users, items, user.dictionary, item.dictionary, micros[order], new)


def _shift_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: _Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    pairs = np.unique(np.column_stack([events.codes(tower), events.micros]), axis=0)
    lookups = []  # (key, time) at the events, one shift before and one shift after; one join for all
    for shift, _ in SHIFTS.values():
        alone = np.flatnonzero(leak_tests.isolated(pairs[:, 0], pairs[:, 1], shift))
        sample = pairs[_sample(alone, rng)]
        lookups += [np.column_stack([sample[:, 0], sample[:, 1] + offset]) for offset in (-shift, 0, shift)]
    rows = np.concatenate(lookups)
    table = _asof(store, schema, tower, events.keys(tower).take(pa.array(rows[:, 0])), rows[:, 1])
    ends = np.cumsum([len(lookup) for lookup in lookups])[:-1]
    for view_name, f in _features(store, schema, tower):
        values = table[f.name].to_pylist()
        parts = [values[start:end] for start, end in zip([0, *ends], [*ends, len(values)], strict=True)]
        for position, (name, (_, least)) in enumerate(SHIFTS.items()):
            result = leak_tests.shifted(*parts[3 * position : 3 * position + 3])
            yield _result("shift", view_name, f, result.leaks(least), result.events, shift=name, **asdict(result))


def _own_item_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: _Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    histories = [(v, f) for v, f in _features(store, schema, tower) if f.encoding == Encoding.HISTORY]
    if tower == "item" or not histories:
        return
    rows = _sample(np.flatnonzero(events.new), rng)
    values = _asof(store, schema, tower, events.users.take(pa.array(events.user[rows])), events.micros[rows])
    items = events.items.take(pa.array(events.item[rows])).to_pylist()
    for view_name, f in histories:
        share, count = leak_tests.own_item(values[f.name].to_pylist(), items, np.ones(len(rows), dtype=bool))
        leaks = count >= leak_tests.LEAST and share > OWN_ITEM
        yield _result("own item", view_name, f, leaks, count, share=share, events=count)


def _future_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: _Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Compare each numeric feature at the middle of the data with the numbers of earlier and later events."""
    middle = int(np.median(events.micros))
    codes, size = events.codes(tower), len(events.keys(tower))
    earlier = events.micros <= middle
    windows = [earlier, *(earlier & (events.micros > middle - d * 86_400 * _SECOND) for d in _WINDOWS)]
    past = np.column_stack([np.bincount(codes[w], minlength=size) for w in windows])
    following = np.bincount(codes[~earlier], minlength=size)
    keys = _sample(np.arange(size), rng, most=4 * EVENTS)
    values = _asof(store, schema, tower, events.keys(tower).take(pa.array(keys)), np.full(len(keys), middle))
    for view_name, f in _features(store, schema, tower):
        if f.dtype not in _NUMBERS:
            continue
        numbers = column_to_input(values[f.name], f).astype(np.float64)
        numbers[numbers == MISSING_INT] = np.nan
        result = leak_tests.future(numbers, past[keys], following[keys])
        yield _result("future", view_name, f, result.leaks(FUTURE), result.keys, **asdict(result))


def _sample(rows: Array, rng: np.random.Generator, most: int = EVENTS) -> Array:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _features(store: FeatureStore, schema: Contract, tower: TowerName) -> Iterator[tuple[str, Feature]]:
    """Yield each feature of a tower with the name of its view."""
    declared = {f.name: f for f in schema.tower(tower)}
    for projection in service(store, _SERVICES[tower]).feature_view_projections:
        for f in projection.features:
            yield projection.name, declared[f.name]


def _asof(store: FeatureStore, schema: Contract, tower: TowerName, keys: pa.Array, micros: Array) -> pa.Table:
    """Join a tower's features for each (key, time), in the order of the keys."""
    stamps = pa.array(micros).cast(pa.timestamp("us", tz="UTC"))
    return historical_features(store, _SERVICES[tower], schema.key(tower), keys, stamps)


def _known_ahead(store: FeatureStore) -> set[tuple[str, str]]:
    """Return the (view, field) pairs with the tag for values that are known before the event, such as a wish list."""
    return {
        (p.name, f.name)
        for name in _SERVICES.values()
        for p in service(store, name).feature_view_projections
        for f in p.features
        if f.tags.get(KNOWN_AHEAD) == "true"
    }


def _result(test: str, view_name: str, f: Feature, leaks: bool, count: int, **measured: Any) -> dict[str, Any]:
    names = {"test": test, "shift": "", "view": view_name, "feature": f.name}
    return {**names, "leaks": leaks, "conclusive": count >= leak_tests.LEAST, **measured}


def _sentence(result: dict[str, Any]) -> str:
    subject = f"feature view {result['view']!r}, feature {result['feature']!r}"
    match result["test"]:
        case "own item":
            return (
                f"{subject}: in {result['share']:.0%} of {result['events']} events, the list contains the item of the "
                "event, although the user had no earlier interaction with it. A list must contain only items from "
                "before its timestamp."
            )
        case "future":
            return (
                f"{subject}: at the middle of the data, the value correlates with the number of later events (rank "
                f"correlation {result['correlation']:.2f} over {result['keys']} keys, given the earlier events; at "
                f"most {result['chance']:.2f} by chance). It contains future information: compute it for each point in "
                "time, or remove it."
            )
    shift = result["shift"]
    return (
        f"{subject}: the value changes in the {shift} before an event in {result['before']:.0%} of {result['events']} "
        f"isolated events, and in the {shift} after the event in {result['after']:.0%}. It contains its own event. Set "
        "the timestamp of a row to at least one microsecond after the last event that the row counts."
    )


_TESTS = {"before and after an event": _shift_tests, "own item": _own_item_tests, "later events": _future_tests}
