"""Write the online store after a training run, from the same rows as training. `online` reads the store."""

import contextlib
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView, Field
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values

from two_tower.data import repository, sources, stores
from two_tower.data.asof import TIME
from two_tower.data.repository import apply, open_store
from two_tower.errors import InputError
from two_tower.retries import retried
from two_tower.schema import INTERACTIONS_VIEW

MARGIN = timedelta(seconds=1)  # the timestamps of rows about the last event are just after it
_BATCH = 5_000  # rows
_ATTEMPTS = 3  # a store may return the old row for a moment after a write

_SECOND = timedelta(seconds=1)  # some stores keep whole seconds

Features = dict[str, Value]
Row = tuple[EntityKey, Features, datetime]  # of a view: key, features, timestamp


@retried
def materialize(repo: Path, as_of: datetime) -> dict[str, int]:
    """Write the newest row of each key to the online store, for every feature view with online=True.

    Applies the definitions of the repository first. The rows are those that training reads at `as_of`. All keys are
    read from the online store, and a row is written if the store lacks it or has other values. So corrected rows, late
    rows and rows that the store has lost are written too. A row of the store that is newer than `as_of` stays. A key of
    the interactions without a row in the view gets missing values.

    Args:
        repo: The folder of the Feast feature repository.
        as_of: Rows up to this time, plus one second, are written. A time without a time zone is UTC.

    Returns:
        The number of written rows per feature view.

    Raises:
        InputError: If a store cannot be reached, a value does not fit its dtype, or the store returns other values than
            were written. Views that are already written stay written; the next call continues with the others.
    """
    end = (as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)) + MARGIN
    apply(repo)
    counts = {}
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        if hasattr(store.config.online_store, "skip_dedup"):
            store.config.online_store.skip_dedup = True  # else Redis ignores a row that is not newer than its own
        for view in online_views(store):
            failure = f"cannot write feature view {view.name!r} to the online store of {repo.name}"
            next_step = "Start the store and run materialise again; it continues with this view."
            with stores.as_input_error(failure, next_step):
                counts[view.name] = _write(store, view, end)
    return counts


def online_views(store: FeatureStore) -> list[FeatureView]:
    """Return the feature views that the online store holds."""
    views = (*store.list_feature_views(), *store.list_stream_feature_views())
    return [view for view in views if view.online and view.enabled]


def check(store: FeatureStore, as_of: datetime) -> None:
    """Check that `materialize` can write every online view, without an online store.

    Args:
        store: The feature store, opened with `asof=True`.
        as_of: The time of the materialisation.

    Raises:
        InputError: If a value does not fit its dtype.
    """
    for view in online_views(store):
        dtypes = sources.dtypes(view.features)
        unchecked = [field for field in view.features if dtypes[field.name] is None]  # `latest` casts the others
        for table in sources.latest(store, view, as_of + MARGIN, _BATCH):
            for field in unchecked:
                _values(view, table, field)


def _write(store: FeatureStore, view: FeatureView, end: datetime) -> int:
    """Materialise one view up to `end`, and return the number of written rows."""
    written = total = 0
    keys = [column.name for column in view.entity_columns]
    known = []
    for table in sources.latest(store, view, end, _BATCH):
        rows = list(zip(_entity_keys(view, table), _features(view, table), table[TIME].to_pylist(), strict=True))
        written += write_rows(store, view, rows, end)
        total += table.num_rows
        known.append(table.select(keys))
    cleared = _clear(store, view, pa.concat_tables(known)[keys[0]], end) if len(keys) == 1 and known else 0
    start = max((until for _, until in view.materialization_intervals), default=sources.FIRST)
    if start < end:
        store.registry.apply_materialization(view, store.project, start, end)
    removed = f", {cleared} keys without a row set to missing" if cleared else ""
    sys.stderr.write(f"materialize: {view.name}: {written} of {total} rows written{removed}\n")
    return written + cleared


def _entity_keys(view: FeatureView, table: pa.Table) -> list[EntityKey]:
    names = [column.name for column in view.entity_columns]
    columns = [_values(view, table, column) for column in view.entity_columns]
    return [EntityKey(join_keys=names, entity_values=values) for values in zip(*columns, strict=True)]


def _features(view: FeatureView, table: pa.Table) -> list[dict[str, Value]]:
    names = [field.name for field in view.features]
    columns = [_values(view, table, field) for field in view.features]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(view: FeatureView, table: pa.Table, field: Field) -> list[Value]:
    """Convert a column to Feast's values, from Python values: pandas would round integers beside a null."""
    try:
        values = python_values_to_proto_values(table[field.name].to_pylist(), field.dtype.to_value_type())
    except (TypeError, ValueError) as error:
        raise InputError(
            f"column {field.name!r} of feature view {view.name!r} has a value that Feast cannot write to an online "
            f"store as {field.dtype}: {error}. Correct the source, or set online=False for the view."
        ) from error
    return list(values)


def write_rows(store: FeatureStore, view: FeatureView, rows: list[Row], end: datetime) -> int:
    """Write the rows that the online store lacks or has with other values, and return their number."""
    stale = left = [row for row, _ in _differing(store, view, rows, end)]
    for attempt in range(_ATTEMPTS):
        if left:
            time.sleep(attempt)
            store.provider.online_write_batch(store.config, view, [(*row, None) for row in left], None)
            differing = _differing(store, view, left, end)
            left = [row for row, _ in differing]
    if left:
        (key, values, stamp), held = differing[0]
        identity = dict(zip(key.join_keys, key.entity_values, strict=True))
        raise InputError(
            f"feature view {view.name!r}: the online store has {_python(held)} for the key {_python(identity)}, after "
            f"{_python(values)} of {stamp} was written ({len(left)} of {len(stale)} rows differ). Check whether "
            "another job writes this view, and whether the store keeps all values."
        )
    return len(stale)


def _differing(store: FeatureStore, view: FeatureView, rows: list[Row], end: datetime) -> list[tuple[Row, Features]]:
    """Return the rows that the online store does not have, with the features that it has for the same key."""
    held = held_rows(store, view, [key for key, *_ in rows])
    return [
        (row, features)
        for row, (stamp, features) in zip(rows, held, strict=True)
        if not _is_newer(stamp, end) and not (abs(stamp - row[2]) < _SECOND and _same(row[1], features))
    ]


def held_rows(store: FeatureStore, view: FeatureView, keys: list[EntityKey]) -> list[tuple[datetime, Features]]:
    """Read the timestamp and the features of keys. A key that is not in the store has no features."""
    names = [field.name for field in view.features]
    rows = store.provider.online_read(store.config, view, keys, names)
    return [(stamp or sources.FIRST, features or {}) for stamp, features in rows]


def _is_newer(stamp: datetime, end: datetime) -> bool:
    """Return whether a row of the store is newer than this materialisation, such as a pushed row."""
    return end < stamp <= datetime.now(UTC)


def _same(a: Features, b: Features) -> bool:
    """Return whether two rows are equal. As bytes, because NaN does not equal itself."""
    return all(value.SerializeToString() == b.get(name, Value()).SerializeToString() for name, value in a.items())


def _clear(store: FeatureStore, view: FeatureView, known: pa.ChunkedArray, end: datetime) -> int:
    """Write missing values for keys of the interactions that the view has no row of, and return their number.

    Training reads missing values for such a key. The store still has its values if the source had a row before.
    """
    (column,) = view.entity_columns
    interactions = repository.view(store, INTERACTIONS_VIEW, "materialisation reads its keys")
    if column.name not in {c.name for c in interactions.entity_columns}:
        return 0
    keys = sources.read(store, interactions, [column.name], until=end)[column.name].cast(known.type).unique()
    absent = pa.table({column.name: keys.filter(pc.invert(pc.is_in(keys, value_set=known.combine_chunks())))})
    cleared = 0
    for start in range(0, absent.num_rows, _BATCH):
        entity_keys = _entity_keys(view, absent.slice(start, _BATCH))
        rows = [
            (key, dict.fromkeys(features, Value()), stamp)
            for key, (stamp, features) in zip(entity_keys, held_rows(store, view, entity_keys), strict=True)
            if any(value.WhichOneof("val") for value in features.values())
        ]
        cleared += write_rows(store, view, rows, end)
    return cleared


def _python(values: Features) -> dict[str, object]:
    return {name: feast_value_type_to_python_type(value) for name, value in values.items()}
