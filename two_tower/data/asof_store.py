"""A Feast offline store with a point-in-time join that reads each feature row once.

The join of Feast on files pairs every entity row with all earlier feature rows of its key and then keeps the newest
row: a user with n events costs n²/2 pairs. This store sorts the rows once and looks up each entity row
(`two_tower.data.asof`). All other operations, and the results, are those of Feast's DuckDB store.
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
    """Configuration that replaces `type: duckdb` while training rows are pulled. Not for use in feature_store.yaml."""

    type: Literal["two_tower.data.asof_store.AsOfOfflineStore"] = "two_tower.data.asof_store.AsOfOfflineStore"


class _Joined(IbisRetrievalJob):
    """A finished job with an Arrow table. ibis would copy the table into an in-memory table and never free it."""

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 (Feast's signature)
        return self.table


class AsOfOfflineStore(DuckDBOfflineStore):
    """Feast's DuckDB store for file sources that reads the source of each feature view once per FeatureStore."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, ...], FeatureRows] = {}

    def get_historical_features(
        self,
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame,
        registry: BaseRegistry,  # noqa: ARG002 (Feast's signature)
        project: str,  # noqa: ARG002
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> RetrievalJob:
        """Join the newest value of each feature at or before the timestamp of each entity row.

        The join keys, field mappings, created-timestamp columns (for equal timestamps, the row that was created last
        counts) and ttl of feature views work as in Feast.

        Args:
            config: The configuration of the feature store.
            feature_views: The feature views to read.
            feature_refs: The features, as `view:feature`.
            entity_df: The join keys and one timestamp column.
            registry: Not used.
            project: Not used.
            full_feature_names: Must be False.
            filter_by_created_timestamp: Must be False.

        Returns:
            A job whose result is the entity dataframe with one more column per feature.
        """
        assert not full_feature_names and not filter_by_created_timestamp, "these options are not supported"
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
    """Return the name, in the source of a feature view, of a column of the view."""
    return {new: old for old, new in view.batch_source.field_mapping.items()}.get(name, name)


def _join_keys(view: FeatureView) -> dict[str, str]:
    """Map the join keys of the view to columns of the entity dataframe."""
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
    # Not `to_pyarrow_batches`: in ibis 12 it calls a method that DuckDB 2 no longer has.
    backend.create_view(_VIEW, rows.filter(rows[KEY].notnull() & rows[TIME].notnull()), overwrite=True)
    batches = backend.con.sql(f"from {_VIEW}").to_arrow_reader(_BATCH)
    return FeatureRows(batches.schema, batches)
