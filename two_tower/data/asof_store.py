"""A Feast offline store whose point-in-time join reads each feature row once.

Feast's own join on files pairs every entity row with all earlier feature rows of its key and then keeps the newest: a
user with n events costs n²/2 pairs. Here the rows are ordered once, and each entity row is looked up among them
(`two_tower.data.asof`). Everything else is Feast's DuckDB store, and so are the results.
"""

from typing import Literal

import ibis
import pandas as pd
import pyarrow as pa
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.ibis import IbisRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig

from two_tower.data.asof import CREATED, KEY, TIME, FeatureRows

_BATCH = 65_536  # rows
_VIEW = "two_tower_rows"
_UTC = ibis.expr.datatypes.Timestamp(timezone="UTC")


class AsOfOfflineStoreConfig(DuckDBOfflineStoreConfig):
    """Takes the place of `type: duckdb` while training rows are pulled; nobody writes it in a feature_store.yaml."""

    type: Literal["two_tower.data.asof_store.AsOfOfflineStore"] = "two_tower.data.asof_store.AsOfOfflineStore"


class _Joined(IbisRetrievalJob):
    """A job that is done: `table` is of Arrow. An in-memory table of ibis would be copied, and held for good."""

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 (Feast calls it so)
        return self.table


class AsOfOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store over file sources, but a FeatureStore with it reads a feature view's source once."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], FeatureRows] = {}

    def get_historical_features(
        self,
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: BaseRegistry,  # noqa: ARG002 (Feast calls it so)
        project: str,  # noqa: ARG002
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """The entity dataframe with the newest value of each feature at or before each row's timestamp.

        Feature views' join keys, field mappings, created-timestamp columns (of equal timestamps the newest counts) and
        ttl mean what they mean in Feast.
        """
        assert not full_feature_names and not filter_by_created_timestamp, "nobody here asks for these"
        joined = pa.Table.from_pandas(entity_df, preserve_index=False)
        stamps = joined[infer_event_timestamp_from_entity_df(dict(entity_df.dtypes))]
        for view in feature_views:
            prefix = view.projection.name_to_use() + ":"
            names = [ref.removeprefix(prefix) for ref in feature_refs if ref.startswith(prefix)]
            if (view.name, *names) not in self._rows:
                self._rows[view.name, *names] = _read(config, view, names)
            rows = self._rows[view.name, *names]
            (column,) = _join_keys(view).values()
            for name, values in zip(names, rows.as_of(entity_df[column], stamps, view.ttl).columns, strict=True):
                joined = joined.append_column(name, values)
        return _Joined(
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


def _read(config: RepoConfig, view: FeatureView, names: list[str]) -> FeatureRows:
    source = view.batch_source
    (key,) = _join_keys(view)
    stamps = {TIME: source.timestamp_field}
    if source.created_timestamp_column:
        stamps[CREATED] = source.created_timestamp_column
    columns = {new: source_column(view, name) for new, name in stamps.items()}
    table = DuckDBOfflineStore.pull_all_from_table_or_query(
        config, source, [source_column(view, key)], [source_column(view, n) for n in names], *columns.values()
    ).table
    rows = table.select(
        **{KEY: table[source_column(view, key)]},
        **{new: table[column].cast(_UTC) for new, column in columns.items()},
        **{n: table[source_column(view, n)] for n in names},
    )
    backend = ibis.get_backend(rows)
    # Not `to_pyarrow_batches`, which in ibis 12 calls what DuckDB 2 no longer has.
    backend.create_view(_VIEW, rows.filter(rows[KEY].notnull() & rows[TIME].notnull()), overwrite=True)
    batches = backend.con.sql(f"from {_VIEW}").to_arrow_reader(_BATCH)
    return FeatureRows(batches.schema, batches)
