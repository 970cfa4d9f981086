"""The leak gate: find features of a repository that contain future information, with the tests of `leak_tests`."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureStore

from two_tower.checks import association, leak_tests
from two_tower.checks.behaviour import LEAST_EVENTS, Behaviour, counts, first_halves, halves, vectors
from two_tower.checks.leak_events import Events, read
from two_tower.data import sources
from two_tower.data.historical import historical_features
from two_tower.data.repository import apply, contract, open_store, service, split_method
from two_tower.gates import Verdict
from two_tower.inputs import Array
from two_tower.retries import retried
from two_tower.schema import ITEM_SERVICE, USER_SERVICE, Contract, Encoding, Feature, TowerName

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
OWN_EVENT = 0.12  # the information on the own event beyond that on the event before, as a share of the entropy
FACT_BINS = 10
MOST_FACTS = 40  # the most figures of the other sides of events
_SERVICES: dict[TowerName, str] = {"user": USER_SERVICE, "item": ITEM_SERVICE}
KNOWN_AHEAD = "known_ahead"
_NOT_RUN = {"features": [], "inconclusive": ["any feature: all tests need the times of the interactions"]}
_TAG = "If the value is known before the event, give its Field the tag known_ahead=true."


@retried
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
        events = read(store, schema, as_of)
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


def _shift_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    pairs = np.unique(np.column_stack([events.codes(tower), events.micros]), axis=0)
    lookups = []  # (key, time): one shift before, at and after events, and before and at idle times; one join for all
    for shift, _ in SHIFTS.values():
        alone = np.flatnonzero(leak_tests.isolated(pairs[:, 0], pairs[:, 1], shift))
        sample = pairs[_sample(alone, rng)]
        idle = events.idle(tower, sample[:, 0], shift, rng)
        offsets = [(sample, -shift), (sample, 0), (sample, shift), (idle, -shift), (idle, 0)]
        lookups += [np.column_stack([rows[:, 0], rows[:, 1] + offset]) for rows, offset in offsets]
    rows = np.concatenate(lookups)
    table = _asof(store, schema, tower, events.keys(tower).take(pa.array(rows[:, 0])), rows[:, 1])
    ends = np.cumsum([len(lookup) for lookup in lookups])[:-1]
    for view_name, f in _features(store, schema, tower):
        values = table[f.name].to_pylist()
        parts = [values[start:end] for start, end in zip([0, *ends], [*ends, len(values)], strict=True)]
        for position, (name, (_, least)) in enumerate(SHIFTS.items()):
            result = leak_tests.shifted(*parts[5 * position : 5 * position + 5])
            yield _result("shift", view_name, f, result.leaks(least), result.events, shift=name, **asdict(result))


def _own_item_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: Events, rng: np.random.Generator
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


def _own_event_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Compare how much each feature tells of its own event and of the event before."""
    now, previous = events.consecutive(tower)
    rows = _sample(np.arange(len(now)), rng, most=4 * EVENTS)
    now, previous = now[rows], previous[rows]
    if not len(now):
        return
    table = _asof(store, schema, tower, events.keys(tower).take(pa.array(events.codes(tower)[now])), events.micros[now])
    other: TowerName = "item" if tower == "user" else "user"
    labels = {other: events.codes(other)} | {n: association.binned(v, FACT_BINS) for n, v in events.facts.items()}
    for view_name, f in _features(store, schema, tower):
        values = association.codes(table[f.name], f)
        results = [leak_tests.own_event(values, label[now], label[previous]) for label in labels.values()]
        label, result = max(zip(labels, results, strict=True), key=lambda pair: pair[1].low)
        yield _result("own event", view_name, f, result.low > OWN_EVENT, len(now), label=label, **asdict(result))


def _count_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    size = len(events.keys(tower))
    keys = _sample(np.arange(size), rng, most=4 * EVENTS)
    yield from _future(store, schema, tower, events, counts(events.codes(tower), events.micros, size, keys))


def _choice_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Compare features with the ratings and the other sides of the later events of each key."""
    codes, size = events.codes(tower), len(events.keys(tower))
    other: TowerName = "item" if tower == "user" else "user"
    keys = _sample(np.flatnonzero(np.bincount(codes, minlength=size) >= LEAST_EVENTS), rng)
    rows = np.flatnonzero(np.isin(codes, keys))
    if len(keys) < association.LEAST:
        return
    others, place = np.unique(events.codes(other)[rows], return_inverse=True)
    width = len(events.keys(other))
    # Vectors that are fitted on later events too would relate the past of a key to its own future.
    early = first_halves(codes)
    described = [vectors(codes[early], events.codes(other)[early], width, rng)[others]]
    described += [np.log1p(np.bincount(events.codes(other)[early], minlength=width))[others][:, None]]
    end = np.full(len(others), events.micros[-1])
    table = _asof(store, schema, other, events.keys(other).take(pa.array(others)), end)
    described += [association.columns(table[f.name], f) for _, f in _features(store, schema, other) if f.is_discrete]
    means = association.principal(np.column_stack(described), min(MOST_FACTS, max(4, len(keys) // 12)))[place]
    facts = np.column_stack([*(values[rows] for values in events.facts.values()), means])
    yield from _future(store, schema, tower, events, halves(codes[rows], events.micros[rows], facts, keys))


def _future(
    store: FeatureStore, schema: Contract, tower: TowerName, events: Events, behaviour: Behaviour
) -> Iterator[dict[str, Any]]:
    values = _asof(store, schema, tower, events.keys(tower).take(pa.array(behaviour.keys)), behaviour.micros)
    for view_name, f in _features(store, schema, tower):
        result = leak_tests.future(values[f.name], f, behaviour)
        yield _result("future", view_name, f, result.leaks, result.keys, **asdict(result))


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
        case "own event":
            return (
                f"{subject}: the value tells {result['share']:.0%} more about the {result['label']} of the event that "
                f"follows than about that of the event before ({result['events']} events). It contains its own event. "
                f"Compute it from earlier events only. {_TAG}"
            )
        case "future":
            return (
                f"{subject}: the value agrees with later events beyond what earlier events explain "
                f"({result['share']:.0%} of the remaining variance, pairs of keys in the right order "
                f"{result['separation']:.0%}, {result['keys']} keys). It contains future information: compute it from "
                f"the events before each point in time, or remove it. {_TAG}"
            )
    shift = result["shift"]
    return (
        f"{subject}: the value changes in the {shift} before an event in {result['before']:.0%} of {result['events']} "
        f"isolated events, and in the {shift} after the event in {result['after']:.0%}. It contains its own event. Set "
        "the timestamp of a row to at least one microsecond after the last event that the row counts."
    )


_TESTS = {
    "before and after an event": _shift_tests,
    "own item": _own_item_tests,
    "own event": _own_event_tests,
    "number of later events": _count_tests,
    "later events": _choice_tests,
}
