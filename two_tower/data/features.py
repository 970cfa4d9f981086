"""The interface to a Feast feature store: all reads and writes.

`apply` and `contract` read the definitions, `pull` reads training data, `materialize` and `online_rows` write and read
the online store for serving.
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
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView

from two_tower.config import PullConfig
from two_tower.data import holdout, sources, split, stores
from two_tower.data.catalogue import Catalogue
from two_tower.data.historical import historical_features
from two_tower.data.materialize import check as check_materialization
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
from two_tower.data.repository import apply, contract, open_store, service, split_method, view
from two_tower.errors import InputError
from two_tower.inputs import Array, arrow_schema
from two_tower.retries import retried
from two_tower.schema import INTERACTIONS_VIEW, ITEM_SERVICE, USER_SERVICE, Contract, Dtype, TowerName

__all__ = ["apply", "contract", "materialize", "online_rows", "pull", "pull_catalogue", "pull_into"]

WINDOW = 500_000  # the join reads this many interactions at a time
_STAMP = pa.timestamp("us", tz="UTC")
_SERVICES: dict[TowerName, str] = {"user": USER_SERVICE, "item": ITEM_SERVICE}


def pull(
    repo: Path, config: PullConfig, as_of: datetime | None, folder: Path, ends: split.Ends | None = None
) -> Pulled:
    """Pull training data as `pull_into` does, with the same arguments and errors, and return the tables in memory."""
    pull_into(repo, config, as_of, folder, ends)
    return Pulled.read(folder)


@retried
def pull_into(
    repo: Path, config: PullConfig, as_of: datetime | None, folder: Path, ends: split.Ends | None = None
) -> None:
    """Pull training data from a feature store: interactions, features, and the catalogue at each snapshot.

    Applies the definitions of the repository first. The join is point-in-time: each interaction gets the newest feature
    row with a timestamp at or before the timestamp of the interaction. A row with timestamp t must therefore describe
    the state before t. The join reads WINDOW interactions at a time, in order of time. Memory holds the keys and times
    of all rows, and the features of one window. Each file source is read once, into temporary files ($TMPDIR) of its
    uncompressed size.

    If the view `interactions` has the tag `split=per_user`, its times have no meaning: the split is a holdout per user,
    all features are as of the newest time, and the history features are made from the split (see `holdout`).

    Args:
        repo: The folder of the Feast feature repository.
        config: The settings of the pull, such as the split.
        as_of: Later interactions are ignored. None: the time of the newest interaction. A time without a time zone is
            UTC.
        folder: The output folder, in the format that `Pulled` reads.
        ends: The ends of the training and validation splits. None: they follow from `config`. For the per-user
            holdout, the interactions after the second one are the test rows, and all others training rows.

    Raises:
        InputError: If a column is missing or has the wrong type, there are no interactions, they have only one user or
            one item, a key is null, a feature view is empty, or a split has too few interactions.
    """
    folder = folder.resolve()
    apply(repo)
    for name in TABLES:
        shutil.rmtree(folder / name, ignore_errors=True)  # an earlier pull may have written more parts
    with _reading(repo), contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        schema = contract(store)
        _check_sources(store, schema)
        with _timed("interactions"):
            rows = _interactions(store, schema, as_of)
        if per_user := split_method(store) == "per_user":
            rows, bounds = holdout.split_per_user(rows, schema, config, ends[1] if ends else None)
            user_items = holdout.UserItems.of(rows, schema)
        else:
            micros = rows[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
            bounds = split.bounds(micros, config, _utc(as_of or rows[EVENT_TIMESTAMP][-1].as_py()), ends)
            rows = rows.append_column(SPLIT, pa.array(split.labels(micros, bounds), pa.string()))
        with _timed("statistics of the sources"):
            states = _states(store, schema, bounds.as_of)
        with _timed("newest rows of the online views"):
            check_materialization(store, bounds.as_of)
        with _timed("features as of the interactions"):
            for part, start in enumerate(range(0, rows.num_rows, WINDOW)):
                window = rows.slice(start, WINDOW)
                write_part(folder, "interactions", part, window)
                stamps = _at(bounds.as_of, window.num_rows) if per_user else window[EVENT_TIMESTAMP]
                for tower in _SERVICES:
                    joined = _join(store, schema, tower, window[schema.key(tower)], stamps)
                    if per_user and tower == "user":
                        joined = holdout.with_histories(joined, user_items, schema, start)
                    write_part(folder, tower, part, joined)
        with _timed("catalogue"):
            items = _items(store, schema, rows[schema.item_key], bounds.as_of)
            for part, snapshot in enumerate(bounds.snapshots):
                write_part(folder, "catalogue", part, _catalogue(store, schema, items, snapshot))
    write_description(folder, schema, bounds, states)


@retried
def pull_catalogue(repo: Path, as_of: datetime | None, folder: Path) -> Catalogue:
    """Pull only the catalogue at one time, for an index of new items with the towers of an existing release.

    Args:
        repo: The folder of the Feast feature repository.
        as_of: The time of the features. None: the time of the newest interaction. A time without a time zone is UTC.
        folder: The output folder, in the format that `Catalogue` reads.

    Returns:
        The catalogue.

    Raises:
        InputError: If a column is missing or has the wrong type, there are no interactions, they have only one user or
            one item, or a key is null.
    """
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
    empty = {tower: arrow_schema(schema.tower(tower)).empty_table() for tower in _SERVICES}
    catalogue = Catalogue.from_pulled(Pulled(schema, bounds, rows, empty["user"], empty["item"], items))
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
    for source in store.list_feature_views():
        if source.online:  # materialisation writes all columns, and also views that no tower uses
            sources.check(store, source, sources.dtypes([*source.entity_columns, *source.features]))


def _states(store: FeatureStore, schema: Contract, as_of: datetime) -> dict[str, dict[str, Any]]:
    """Return the statistics of the source of every pulled view, by the name of the view."""
    interactions = _view(store, INTERACTIONS_VIEW)
    states = {INTERACTIONS_VIEW: sources.state(store, interactions, [schema.user_key, schema.item_key], as_of)}
    for tower in _SERVICES:
        for source, _ in _views(store, tower):
            states[source.name] = sources.state(store, source, _own_keys(source), as_of)
            if not states[source.name]["rows"]:
                raise InputError(
                    f"feature view {source.name!r} has no rows: all its features would be missing. Add rows to its "
                    f"source, or remove the view from the feature service {_SERVICES[tower]!r}."
                )
    return states


def _views(store: FeatureStore, tower: TowerName) -> Iterator[tuple[FeatureView, list[str]]]:
    """Yield each view of a tower's feature service with the features that the service uses."""
    for projection in service(store, _SERVICES[tower]).feature_view_projections:
        yield _view(store, projection.name), [f.name for f in projection.features]


def _view(store: FeatureStore, name: str) -> FeatureView:
    return view(store, name, "the pull reads it")


def _own_keys(source: FeatureView) -> list[str]:
    return [column.name for column in source.entity_columns]


def _interactions(store: FeatureStore, schema: Contract, as_of: datetime | None) -> pa.Table:
    """Read user key, item key, event_timestamp and weight (float32; 1 if the view has no weight), sorted by time."""
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
            f"feature view {INTERACTIONS_VIEW!r} has no rows{until}. Training needs interactions: check its source."
        )
    for name in (schema.user_key, schema.item_key, EVENT_TIMESTAMP):
        if missing := pc.sum(sources.is_missing(rows[name])).as_py():
            raise InputError(
                f"column {name!r} of feature view {INTERACTIONS_VIEW!r} has {missing} null values or empty texts; "
                "an interaction needs a user, an item and a time. Remove these rows."
            )
    for tower in _SERVICES:
        if pc.count_distinct(rows[schema.key(tower)]).as_py() < 2:
            raise InputError(
                f"feature view {INTERACTIONS_VIEW!r} has only one {tower} ({rows[schema.key(tower)][0].as_py()!r}); "
                f"training needs at least 2. Add interactions of other {tower}s."
            )


def _join(
    store: FeatureStore, schema: Contract, tower: TowerName, keys: pa.ChunkedArray, stamps: pa.ChunkedArray
) -> pa.Table:
    """Join a tower's features for each (key, timestamp), in the order of the rows; each distinct pair only once."""
    key = schema.key(tower)
    firsts, inverse = _distinct(keys, stamps)
    joined = historical_features(store, _SERVICES[tower], key, keys.take(firsts), stamps.take(firsts))
    features = schema.tower(tower)
    table = pa.table(
        [sources.cast(joined[f.name], f.name, f.dtype) for f in features],
        schema=arrow_schema(features),
    )
    del joined  # frees its memory before the copy below
    return table.take(pa.array(inverse))


def _distinct(keys: pa.ChunkedArray, stamps: pa.ChunkedArray) -> tuple[Array, Array]:
    """Return the first row of each distinct (key, timestamp), and for each row the index of its pair among these."""
    code = keys.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    instants, instant = np.unique(stamps.cast(pa.int64()).to_numpy(), return_inverse=True)
    _, firsts, inverse = np.unique(code * len(instants) + instant, return_index=True, return_inverse=True)
    return firsts, inverse


def _catalogue(store: FeatureStore, schema: Contract, items: pa.Array, snapshot: datetime) -> pa.Table:
    """Return snapshot, item key and features of every item with at least one known feature at the snapshot."""
    stamps = _at(snapshot, len(items))
    features = _join(store, schema, "item", pa.chunked_array([items]), stamps)
    known = np.zeros(features.num_rows, dtype=bool)
    for column in features.columns:
        known |= column.is_valid().to_numpy()
    table = pa.table([stamps, items, *features.columns], names=[SNAPSHOT, schema.item_key, *features.column_names])
    return table.filter(pa.array(known))


def _at(instant: datetime, rows: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.repeat(pa.scalar(instant, _STAMP), rows)])


def _items(store: FeatureStore, schema: Contract, interacted: pa.ChunkedArray, as_of: datetime) -> pa.Array:
    """Return all distinct items of the interactions and of the views of the item service, sorted."""
    chunks = [interacted.unique()]
    for source, _ in _views(store, "item"):
        keys = sources.read(store, source, _own_keys(source), until=as_of)[_own_keys(source)[0]]
        chunks.append(sources.cast(keys, schema.item_key, schema.item_key_dtype).unique())
    items = pa.chunked_array(chunks).unique()
    items = items.filter(pc.invert(sources.is_missing(items)))
    return items.take(pc.array_sort_indices(items))


def _reading(repo: Path) -> contextlib.AbstractContextManager[None]:
    return stores.as_input_error(
        f"cannot read feature repository {repo.name}", "Check offline_store in its feature_store.yaml."
    )


def _utc(instant: datetime) -> datetime:
    return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)


@contextlib.contextmanager
def _timed(step: str) -> Iterator[None]:
    """Print the name of a step on standard error, and its duration if it takes more than 2 seconds."""
    start = time.monotonic()
    sys.stderr.write(f"pull: {step} …\n")
    yield
    if (seconds := time.monotonic() - start) > 2:
        sys.stderr.write(f"pull: {step} took {seconds:.1f} s\n")
