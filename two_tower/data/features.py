"""Everything that is read from or written to a Feast feature store goes through here.

`apply` and `contract` for the definitions, `pull` for training, `materialize` and `online_rows` for serving.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView

from two_tower.config import PullConfig
from two_tower.data import sources, split, stores
from two_tower.data.catalogue import Catalogue
from two_tower.data.materialize import materialize
from two_tower.data.online import online_rows
from two_tower.data.pulled import (
    EVENT_TIMESTAMP,
    SNAPSHOT,
    SPLIT,
    TABLES,
    WEIGHT,
    Bounds,
    Pulled,
    write_description,
    write_part,
)
from two_tower.data.repository import apply, contract, open_store, service, view
from two_tower.errors import InputError
from two_tower.inputs import Array, arrow_schema
from two_tower.schema import INTERACTIONS_VIEW, ITEM_SERVICE, USER_SERVICE, Contract, Dtype, TowerName

__all__ = ["apply", "contract", "materialize", "online_rows", "pull", "pull_catalogue", "pull_into"]

WINDOW = 500_000  # interactions whose features are joined at a time
_ROW = "two_tower_row"  # travels through the join, which may answer in any order
_STAMP = pa.timestamp("us", tz="UTC")
_SERVICES: dict[TowerName, str] = {"user": USER_SERVICE, "item": ITEM_SERVICE}


def pull(
    repo: Path, config: PullConfig, as_of: datetime | None, folder: Path, ends: split.Ends | None = None
) -> Pulled:
    """`pull_into`, and what it wrote in memory."""
    pull_into(repo, config, as_of, folder, ends)
    return Pulled.read(folder)


def pull_into(
    repo: Path, config: PullConfig, as_of: datetime | None, folder: Path, ends: split.Ends | None = None
) -> None:
    """Read the interactions, the features as of each, and the catalogue at each snapshot; write them to `folder`, as
    `Pulled` reads them.

    Applies the repository's definitions first. Features are joined at a point in time: the newest feature row stamped
    at or before the event. A row stamped t must therefore describe the world before t. Joined are WINDOW interactions
    at a time, in order of time, so that the memory it takes is that of the keys and times of all rows, and of one
    window. File sources are read once, into scratch files ($TMPDIR) as large as they are uncompressed.

    as_of: interactions after this instant are left out; None takes the newest interaction's time. A naive one is UTC.
    ends: of the training and the validation window, in place of those that follow from `config`.
    Raises InputError for missing or mistyped columns, empty interactions, one user or one item only, null keys, and a
    window of the time line with too few interactions.
    """
    folder = folder.resolve()
    apply(repo)
    for name in TABLES:
        shutil.rmtree(folder / name, ignore_errors=True)  # of an earlier pull, which may have had more parts
    with _reading(repo), contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        schema = contract(store)
        _check_sources(store, schema)
        with _timed("interactions"):
            rows = _interactions(store, schema, as_of)
        micros = rows[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
        bounds = split.bounds(micros, config, _utc(as_of or rows[EVENT_TIMESTAMP][-1].as_py()), ends)
        rows = rows.append_column(SPLIT, pa.array(split.labels(micros, bounds), pa.string()))
        with _timed("state of the sources"):
            states = _states(store, schema, bounds.as_of)
        with _timed("features as of the interactions"):
            for part, start in enumerate(range(0, rows.num_rows, WINDOW)):
                window = rows.slice(start, WINDOW)
                write_part(folder, "interactions", part, window)
                for tower in _SERVICES:
                    joined = _join(store, schema, tower, window[schema.key(tower)], window[EVENT_TIMESTAMP])
                    write_part(folder, tower, part, joined)
        with _timed("catalogue"):
            items = _items(store, schema, rows[schema.item_key], bounds.as_of)
            for part, snapshot in enumerate(bounds.snapshots):
                write_part(folder, "catalogue", part, _catalogue(store, schema, items, snapshot))
    write_description(folder, schema, bounds, states)


def pull_catalogue(repo: Path, as_of: datetime | None, folder: Path) -> Catalogue:
    """Read the catalogue alone, as of an instant, to embed it again; write it to `folder`. Arguments as for `pull`."""
    folder = folder.resolve()
    apply(repo)
    with _reading(repo), contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        schema = contract(store)
        _check_sources(store, schema)
        with _timed("interactions"):
            rows = _interactions(store, schema, as_of)
        at = _utc(as_of or rows[EVENT_TIMESTAMP][-1].as_py())
        bounds = Bounds(train_end=at, validation_end=at, as_of=at, snapshots=(at,))
        with _timed("catalogue"):
            items = _catalogue(store, schema, _items(store, schema, rows[schema.item_key], at), at)
    none = {tower: arrow_schema(schema.tower(tower)).empty_table() for tower in _SERVICES}
    catalogue = Catalogue.of(Pulled(schema, bounds, rows, none["user"], none["item"], items))
    catalogue.write(folder)
    return catalogue


def _check_sources(store: FeatureStore, schema: Contract) -> None:
    keys = {schema.user_key: schema.user_key_dtype, schema.item_key: schema.item_key_dtype}
    interactions = _view(store, INTERACTIONS_VIEW)
    weight = {WEIGHT: Dtype.FLOAT32} if WEIGHT in {f.name for f in interactions.features} else {}
    sources.check(store, interactions, keys | weight)
    for tower in _SERVICES:
        dtypes = {f.name: f.dtype for f in schema.tower(tower)}
        key = schema.key(tower)
        for source, fields in _views(store, tower):
            sources.check(store, source, dict.fromkeys(_own_keys(source), keys[key]) | {n: dtypes[n] for n in fields})


def _states(store: FeatureStore, schema: Contract, as_of: datetime) -> dict[str, dict[str, Any]]:
    """What was seen of the source of every view that is pulled, by the view's name."""
    interactions = _view(store, INTERACTIONS_VIEW)
    found = {INTERACTIONS_VIEW: sources.state(store, interactions, [schema.user_key, schema.item_key], as_of)}
    for tower in _SERVICES:
        for source, _ in _views(store, tower):
            found[source.name] = sources.state(store, source, _own_keys(source), as_of)
            if not found[source.name]["rows"]:
                raise InputError(
                    f"feature view {source.name!r} has no rows, so that its features would all be missing. Fill its "
                    f"source, or leave it out of the service {_SERVICES[tower]!r}."
                )
    return found


def _views(store: FeatureStore, tower: TowerName) -> Iterator[tuple[FeatureView, list[str]]]:
    """The views behind a tower's service, each with the features taken from it."""
    for projection in service(store, _SERVICES[tower]).feature_view_projections:
        yield _view(store, projection.name), [f.name for f in projection.features]


def _view(store: FeatureStore, name: str) -> FeatureView:
    return view(store, name, "it is pulled")


def _own_keys(source: FeatureView) -> list[str]:
    return [column.name for column in source.entity_columns]


def _interactions(store: FeatureStore, schema: Contract, as_of: datetime | None) -> pa.Table:
    """User key, item key, event_timestamp and weight (float32, 1 where the view has none), ascending in time."""
    source = _view(store, INTERACTIONS_VIEW)
    stamp = source.batch_source.timestamp_field
    weighted = [WEIGHT] if WEIGHT in {f.name for f in source.features} else []
    table = sources.read(
        store, source, [schema.user_key, schema.item_key, *weighted], until=_utc(as_of) if as_of else None
    )
    columns = {
        schema.user_key: sources.cast(table[schema.user_key], schema.user_key, schema.user_key_dtype),
        schema.item_key: sources.cast(table[schema.item_key], schema.item_key, schema.item_key_dtype),
        EVENT_TIMESTAMP: sources.cast(table[stamp], stamp, Dtype.TIMESTAMP),
        WEIGHT: sources.cast(table[WEIGHT], WEIGHT, Dtype.FLOAT32)
        if weighted
        else pa.array(np.ones(table.num_rows, np.float32)),
    }
    rows = pa.table(columns)
    _check_interactions(rows, schema, as_of)
    return rows.sort_by([(n, "ascending") for n in (EVENT_TIMESTAMP, schema.user_key, schema.item_key)])


def _check_interactions(rows: pa.Table, schema: Contract, as_of: datetime | None) -> None:
    if rows.num_rows == 0:
        until = f" at or before {_utc(as_of)}" if as_of else ""
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has no rows{until}. Without positives nothing is learned."
        )
    for name in (schema.user_key, schema.item_key, EVENT_TIMESTAMP):
        if rows[name].null_count:
            raise InputError(
                f"column {name!r} of feature view {INTERACTIONS_VIEW!r} has {rows[name].null_count} nulls."
            )
    for tower in _SERVICES:
        if pc.count_distinct(rows[schema.key(tower)]).as_py() < 2:
            raise InputError(
                f"feature view {INTERACTIONS_VIEW!r} has one {tower} only ({rows[schema.key(tower)][0].as_py()!r}); "
                "at least 2 are needed to tell them apart."
            )


def _join(
    store: FeatureStore, schema: Contract, tower: TowerName, keys: pa.ChunkedArray, stamps: pa.ChunkedArray
) -> pa.Table:
    """A tower's features as of each (key, timestamp), [rows] in the order given; each distinct pair is joined once."""
    key = schema.key(tower)
    firsts, inverse = _distinct(keys, stamps)
    entities = pd.DataFrame(
        {
            key: keys.take(firsts).to_pandas(),
            EVENT_TIMESTAMP: stamps.take(firsts).to_pandas(),
            _ROW: np.arange(len(firsts)),
        }
    )
    found = store.get_historical_features(entity_df=entities, features=service(store, _SERVICES[tower])).to_arrow()
    assert found.num_rows == len(entities), "a point-in-time join answers each entity row once"
    features = schema.tower(tower)
    table = pa.table(
        [sources.cast(found[f.name], f.name, f.dtype) for f in features],
        schema=arrow_schema(features),
    )
    place = np.empty(len(entities), dtype=np.int64)
    place[found[_ROW].to_numpy()] = np.arange(len(entities))
    del found
    return table.take(pa.array(place[inverse]))


def _distinct(keys: pa.ChunkedArray, stamps: pa.ChunkedArray) -> tuple[Array, Array]:
    """The first row of each distinct (key, timestamp), and for each row which of these it is."""
    code = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    instants, instant = np.unique(stamps.cast(pa.int64()).to_numpy(), return_inverse=True)
    _, firsts, inverse = np.unique(code * len(instants) + instant, return_index=True, return_inverse=True)
    return firsts, inverse


def _catalogue(store: FeatureStore, schema: Contract, items: pa.Array, snapshot: datetime) -> pa.Table:
    """Snapshot, item key and features of every item of which anything is known at the snapshot."""
    stamps = pa.chunked_array([pa.repeat(pa.scalar(snapshot, _STAMP), len(items))])
    features = _join(store, schema, "item", pa.chunked_array([items]), stamps)
    known = np.zeros(features.num_rows, dtype=bool)
    for column in features.columns:
        known |= column.is_valid().to_numpy()
    table = pa.table([stamps, items, *features.columns], names=[SNAPSHOT, schema.item_key, *features.column_names])
    return table.filter(pa.array(known))


def _items(store: FeatureStore, schema: Contract, interacted: pa.ChunkedArray, as_of: datetime) -> pa.Array:
    """Every item that was taken or that a view of the item service knows, once each, in order."""
    found = [interacted.unique()]
    for source, _ in _views(store, "item"):
        keys = sources.read(store, source, _own_keys(source), until=as_of)[_own_keys(source)[0]]
        found.append(sources.cast(keys, schema.item_key, schema.item_key_dtype).unique())
    items = pa.chunked_array(found).unique()
    return items.take(pc.array_sort_indices(items)).drop_null()


def _reading(repo: Path) -> contextlib.AbstractContextManager[None]:
    return stores.told(f"feature repository {repo.name} is read", "See offline_store in its feature_store.yaml.")


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    """Say on the standard error what is being read and, if that took over 2 seconds, how long."""
    start = time.monotonic()
    sys.stderr.write(f"pull: {what} …\n")
    yield
    if (seconds := time.monotonic() - start) > 2:
        sys.stderr.write(f"pull: {what} took {seconds:.1f} s\n")
