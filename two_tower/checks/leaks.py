"""The leak gate: which features of a repository know the future. `foresight` says how that is told."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from two_tower.checks import leak_tests
from two_tower.data import sources
from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.data.repository import apply, contract, open_store, service, view
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

EVENTS = 1500  # that each test looks at
_SECOND = 10**6
SHIFTS = {  # in microseconds, and the share of isolated events in whose time before a leak has changed
    "microsecond": (1, 0.3),
    "second": (_SECOND, 0.3),
    "hour": (3600 * _SECOND, 0.8),
    "day": (86_400 * _SECOND, 0.8),
    "week": (7 * 86_400 * _SECOND, 0.8),
}
OWN_ITEM = 0.05  # share of the events on new items whose history may hold the item already
FUTURE = 0.7  # partial rank correlation with the number of events that follow
_WINDOWS = (1, 7, 30)  # days before the middle of the data, whose counts are known then
_SERVICES: dict[TowerName, str] = {"user": USER_SERVICE, "item": ITEM_SERVICE}
KNOWN_AHEAD = "known_ahead"
_ROW = "two_tower_row"
_NUMBERS = (Dtype.INT64, Dtype.FLOAT32, Dtype.FLOAT64, Dtype.TIMESTAMP)


@dataclass(frozen=True)
class _Events:
    """Interactions ascending in time. user, item: codes into users and items, int64; micros: int64 [events]."""

    user: Array
    item: Array
    users: pa.Array
    items: pa.Array
    micros: Array
    new: Array  # bool: the first event of its user on its item

    def codes(self, tower: TowerName) -> Array:
        return self.user if tower == "user" else self.item

    def keys(self, tower: TowerName) -> pa.Array:
        return self.users if tower == "user" else self.items


def check(
    repo: Path,
    as_of: datetime | None = None,
    seed: int = 0,
    tell: Callable[[str, int, int], None] = lambda *_: None,
) -> Verdict:
    """Look for features that know the future in a feature repository.

    Each feature of both services is read as of a sample of the interactions, and of moments around them. details:
    `features`, what was measured of each; `untold`, the tests for which there was too little. A field with the tag
    `known_ahead=true` is measured and never flagged.
    as_of: interactions after it are left out. tell: called with what is looked at, as which part of how many.
    Raises InputError as `features.apply` and `features.contract` do.
    """
    apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        schema = contract(store)
        events = _events(store, schema, as_of)
        found = []
        for number, (tower, (what, test)) in enumerate(itertools.product(_SERVICES, _TESTS.items()), start=1):
            tell(f"{tower} features: {what}", number, len(_SERVICES) * len(_TESTS))
            found += test(store, schema, tower, events, np.random.default_rng(seed))
        ahead = _known_ahead(store)
    for one in found:
        one["leaks"] &= (one["view"], one["feature"]) not in ahead
    reasons = tuple(_sentence(one) for one in _worst(found))
    return Verdict(
        gate="leaks",
        passed=not reasons,
        reasons=reasons,
        details={
            "events": len(events.micros),
            "features": found,
            "untold": sorted({f"{one['test']} {one['shift']}".strip() for one in found if not one["told"]}),
        },
    )


def _worst(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One finding a feature: the first, for the shortest shift says most."""
    firsts: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        if one["leaks"]:
            firsts.setdefault((one["view"], one["feature"]), one)
    return list(firsts.values())


def _events(store: FeatureStore, schema: Contract, as_of: datetime | None) -> _Events:
    source = view(store, INTERACTIONS_VIEW, "leaks are looked for at its rows")
    table = sources.read(store, source, [schema.user_key, schema.item_key], until=as_of)
    stamp = source.batch_source.timestamp_field
    micros = sources.cast(table[stamp], stamp, Dtype.TIMESTAMP).cast(pa.int64()).to_numpy()
    order = np.argsort(micros, kind="stable")
    if not len(order):
        raise InputError(f"feature view {INTERACTIONS_VIEW!r} has no rows; without events no leak shows.")
    user, item = (table[k].combine_chunks().dictionary_encode() for k in (schema.user_key, schema.item_key))
    users, items = (np.asarray(c.indices).astype(np.int64)[order] for c in (user, item))
    new = np.zeros(len(order), dtype=bool)
    new[np.unique(users * (len(item.dictionary) + 1) + items, return_index=True)[1]] = True
    return _Events(users, items, user.dictionary, item.dictionary, micros[order], new)


def _shift_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: _Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    pairs = np.unique(np.column_stack([events.codes(tower), events.micros]), axis=0)
    asked = []  # events × the three instants of each shift, joined all at once
    for shift, _ in SHIFTS.values():
        alone = np.flatnonzero(leak_tests.isolated(pairs[:, 0], pairs[:, 1], shift))
        chosen = pairs[_sample(alone, rng)]
        asked += [np.column_stack([chosen[:, 0], chosen[:, 1] + by]) for by in (-shift, 0, shift)]
    every = np.concatenate(asked)
    values = _asof(store, schema, tower, events.keys(tower).take(pa.array(every[:, 0])), every[:, 1])
    ends = np.cumsum([len(one) for one in asked])[:-1]
    for view_name, f in _features(store, schema, tower):
        told = values[f.name].to_pylist()
        parts = [told[start:end] for start, end in zip([0, *ends], [*ends, len(told)], strict=True)]
        for place, (name, (_, least)) in enumerate(SHIFTS.items()):
            measured = leak_tests.shifted(*parts[3 * place : 3 * place + 3])
            leaks = measured.leaks(least)
            yield _finding("shift", view_name, f, leaks, measured.events, shift=name, **asdict(measured))


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
        share, told = leak_tests.own_item(values[f.name].to_pylist(), items, np.ones(len(rows), dtype=bool))
        leaks = told >= leak_tests.LEAST and share > OWN_ITEM
        yield _finding("own item", view_name, f, leaks, told, share=share, events=told)


def _future_tests(
    store: FeatureStore, schema: Contract, tower: TowerName, events: _Events, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Each number as of the middle of the data, beside the events before and after it."""
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
        measured = leak_tests.future(numbers, past[keys], following[keys])
        yield _finding("future", view_name, f, measured.leaks(FUTURE), measured.keys, **asdict(measured))


def _sample(rows: Array, rng: np.random.Generator, most: int = EVENTS) -> Array:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def _features(store: FeatureStore, schema: Contract, tower: TowerName) -> Iterator[tuple[str, Feature]]:
    """Each feature of a tower, with the name of its view."""
    declared = {f.name: f for f in schema.tower(tower)}
    for projection in service(store, _SERVICES[tower]).feature_view_projections:
        for f in projection.features:
            yield projection.name, declared[f.name]


def _asof(store: FeatureStore, schema: Contract, tower: TowerName, keys: pa.Array, micros: Array) -> pa.Table:
    """A tower's features as of each key and instant, in the order given."""
    stamps = pa.array(micros).cast(pa.timestamp("us", tz="UTC"))
    columns = {schema.key(tower): keys.to_pandas(), EVENT_TIMESTAMP: stamps.to_pandas(), _ROW: np.arange(len(keys))}
    found = store.get_historical_features(
        entity_df=pd.DataFrame(columns), features=service(store, _SERVICES[tower])
    ).to_arrow()
    return found.take(pc.sort_indices(found[_ROW]))


def _known_ahead(store: FeatureStore) -> set[tuple[str, str]]:
    """Fields that their owner says are known before the event, such as a wish list or a planned price."""
    return {
        (p.name, f.name)
        for name in _SERVICES.values()
        for p in service(store, name).feature_view_projections
        for f in p.features
        if f.tags.get(KNOWN_AHEAD) == "true"
    }


def _finding(test: str, view_name: str, f: Feature, leaks: bool, told: int, **measured: Any) -> dict[str, Any]:
    enough = told >= leak_tests.LEAST
    return {"shift": "", "test": test, "view": view_name, "feature": f.name, "leaks": leaks, "told": enough, **measured}


def _sentence(one: dict[str, Any]) -> str:
    named = f"feature view {one['view']!r}, feature {one['feature']!r}"
    match one["test"]:
        case "own item":
            return (
                f"{named}: in {one['share']:.0%} of {one['events']} events the list holds the event's own item, which "
                "its user had not taken before. A list must hold what came before the time it is stamped with."
            )
        case "future":
            return (
                f"{named}: as of the middle of the data it goes with how many events follow (rank correlation "
                f"{one['correlation']:.2f} over {one['keys']} keys, given the events before; by chance at most "
                f"{one['chance']:.2f}). It sums up what was not known then: compute it as of each time, or drop it."
            )
    span = one["shift"]
    return (
        f"{named}: it changes in the {span} before an event in {one['before']:.0%} of {one['events']} cases where "
        f"nothing else was near, and in the {span} after it in {one['after']:.0%}: it knows its own event. Stamp a row "
        "after the last event that it counts, by a microsecond at least."
    )


_TESTS = {"before and after an event": _shift_tests, "its own item": _own_item_tests, "what follows": _future_tests}
