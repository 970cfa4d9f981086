"""Features of all users at one time: the rows that a materialised online store contains."""

import contextlib
from datetime import datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore, FeatureView

from two_tower.data import sources, stores
from two_tower.data.historical import historical_features
from two_tower.data.repository import contract, open_store, service, view
from two_tower.schema import INTERACTIONS_VIEW, SEEN_SERVICE, USER_SERVICE, Contract, Feature

_MARGIN = timedelta(seconds=1)  # as in `materialize`: the timestamps of rows about the last event are just after it


def pull_users(repo: Path, as_of: datetime, users: pa.Array | None = None) -> pa.Table:
    """Read the features of users at one time.

    Args:
        repo: The folder of a Feast feature repository after `apply`.
        as_of: The time of the newest interaction. Rows up to one second later are read too, as in `materialize`.
        users: The keys of the users. Default: all, sorted.

    Returns:
        Table with one row per user, in their order: the user key, the features of `user_tower`, and the feature of
        `user_seen` if the repository has that service.

    Raises:
        InputError: If a store cannot be reached, or a column does not fit its dtype.
    """
    until = as_of + _MARGIN
    reading = stores.as_input_error(
        f"cannot read feature repository {repo.name}", "Check offline_store in its feature_store.yaml."
    )
    with reading, contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        schema = contract(store)
        keys = _keys(store, schema, until) if users is None else users
        columns = _join(store, USER_SERVICE, schema.user, schema.user_key, keys, until)
        if schema.seen:
            columns |= _join(store, SEEN_SERVICE, (schema.seen,), schema.user_key, keys, until)
    return pa.table({schema.user_key: keys, **columns})


def _keys(store: FeatureStore, schema: Contract, until: datetime) -> pa.Array:
    """Return the distinct users of the interactions and of the views of `user_tower`, sorted."""
    projections = service(store, USER_SERVICE).feature_view_projections
    views = [
        view(store, name, "the pull reads its users") for name in (INTERACTIONS_VIEW, *(p.name for p in projections))
    ]
    keys = pa.chunked_array([_user_keys(store, source, schema, until) for source in views]).unique()
    keys = keys.filter(pc.invert(sources.is_missing(keys)))
    return keys.take(pc.array_sort_indices(keys))


def _user_keys(store: FeatureStore, source: FeatureView, schema: Contract, until: datetime) -> pa.Array:
    join_keys = [column.name for column in source.entity_columns]
    key = schema.user_key if schema.user_key in join_keys else join_keys[0]
    keys = sources.read(store, source, [key], until=until)[key]
    return sources.cast(keys, schema.user_key, schema.user_key_dtype).unique()


def _join(
    store: FeatureStore, name: str, features: tuple[Feature, ...], key: str, keys: pa.Array, until: datetime
) -> dict[str, pa.ChunkedArray]:
    """Return the features of one service at `until`, one row per key in the order of `keys`."""
    stamps = pa.repeat(pa.scalar(until, pa.timestamp("us", tz="UTC")), len(keys))
    joined = historical_features(store, name, key, keys, stamps)
    return {f.name: sources.cast(joined[f.name], f.name, f.dtype) for f in features}
