"""A Feast offline store whose point-in-time join reads each feature row once.

Feast's own join on files pairs every entity row with all earlier feature rows of its key and then keeps the newest: a
user with n events costs n²/2 pairs. DuckDB's ASOF join sorts both sides and merges them, in n log n. Everything else
is Feast's DuckDB store, and so are the results.
"""

from datetime import timedelta
from typing import Any, Literal

import ibis
import pandas as pd
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.ibis import IbisRetrievalJob, deduplicate
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig

_TIME = "two_tower_feature_time"
_KEY = "two_tower_feature_key_"
_UTC = ibis.expr.datatypes.Timestamp(timezone="UTC")


class AsOfOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Takes the place of `type: duckdb` while training rows are pulled; nobody writes it in a feature_store.yaml."""

    type: Literal["two_tower.data.asof_store.AsOfOfflineStore"] = "two_tower.data.asof_store.AsOfOfflineStore"


class AsOfOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store over file sources, with an ASOF join."""

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: BaseRegistry,  # noqa: ARG004 (Feast calls it so)
        project: str,  # noqa: ARG004
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """The entity dataframe with the newest value of each feature at or before each row's timestamp.

        Feature views' join keys, field mappings, created-timestamp columns (of equal timestamps the newest counts) and
        ttl mean what they mean in Feast.
        """
        assert not full_feature_names and not filter_by_created_timestamp, "nobody here asks for these"
        stamp = infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))
        joined = ibis.memtable(entity_df)
        for view in feature_views:
            prefix = view.projection.name_to_use() + ":"
            names = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
            joined = _join(joined, stamp, _reached(_read(config, view, names), view, entity_df, stamp), view)
        return IbisRetrievalJob(
            table=joined,
            on_demand_feature_views=[],
            full_feature_names=False,
            metadata=None,
            data_source_writer=None,
            staging_location=None,
            staging_location_endpoint_override=None,
            repo_path=str(config.repo_path),
        )


def source_column(view: FeatureView, name: str) -> str:
    """What a column of a feature view is called in its source."""
    return {new: old for old, new in view.batch_source.field_mapping.items()}.get(name, name)


def _join_keys(view: FeatureView) -> dict[str, str]:
    """Join keys of the view → columns of the entity dataframe."""
    return view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}


def _read(config: RepoConfig, view: FeatureView, names: list[str]) -> Any:
    """The view's rows: its features, its keys and its time under names that no feature has."""
    source = view.batch_source
    keys = list(_join_keys(view))
    stamp = source_column(view, source.timestamp_field)
    created = source.created_timestamp_column and source_column(view, source.created_timestamp_column)
    rows = DuckDBOfflineStore.pull_all_from_table_or_query(
        config, source, [source_column(view, k) for k in keys], [source_column(view, n) for n in names], stamp, created
    ).table
    if created:
        rows = deduplicate(rows, [*(source_column(view, k) for k in keys), stamp], stamp, created)
    return rows.select(
        **{_TIME: rows[stamp].cast(_UTC)},
        **{f"{_KEY}{i}": rows[source_column(view, k)] for i, k in enumerate(keys)},
        **{n: rows[source_column(view, n)] for n in names},
    )


def _reached(rows: Any, view: FeatureView, entities: pd.DataFrame, stamp: str) -> Any:
    """Those rows that a join of these entities can reach: of their keys, no later than the last of them, and of all
    that is no later than the first of them the newest of each key.

    The join sorts what it is given, whole rows and all; this only has to look at each once.
    """
    first, last = (ibis.literal(at).cast(_UTC) for at in (entities[stamp].min(), entities[stamp].max()))
    keys = _join_keys(view)
    wanted = ibis.memtable(entities[list(keys.values())].drop_duplicates())
    of_them = rows.semi_join(wanted, [rows[f"{_KEY}{i}"] == wanted[c] for i, c in enumerate(keys.values())])
    before = of_them.filter(of_them[_TIME] <= first)
    by_key = [c for c in rows.columns if c.startswith(_KEY)]
    others = [c for c in rows.columns if c not in by_key]
    newest = before.group_by(by_key).agg(row=ibis.struct({c: before[c] for c in others}).argmax(before[_TIME]))
    newest = newest.select(*by_key, **{c: newest["row"][c] for c in others})
    during = of_them.filter((of_them[_TIME] > first) & (of_them[_TIME] <= last))
    return during.select(rows.columns).union(newest.select(rows.columns))


def _join(entities: Any, stamp: str, rows: Any, view: FeatureView) -> Any:
    equal = [entities[column] == rows[f"{_KEY}{i}"] for i, column in enumerate(_join_keys(view).values())]
    joined = entities.asof_join(rows, on=entities[stamp] >= rows[_TIME], predicates=equal)
    joined = joined.drop(*(c for c in joined.columns if c.startswith(_KEY)))
    if view.ttl and view.ttl > timedelta(0):
        expired = joined[_TIME] + ibis.literal(view.ttl) < joined[stamp]
        names = [c for c in rows.columns if c in joined.columns and c != _TIME]
        joined = joined.mutate(**{n: expired.ifelse(ibis.null(joined[n].type()), joined[n]) for n in names})
    return joined.drop(_TIME)
