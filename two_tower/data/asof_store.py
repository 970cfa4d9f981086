"""A Feast offline store with a point-in-time join that reads each feature row once.

The join of Feast on files pairs every entity row with all earlier feature rows of its key and then keeps the newest
row: a user with n events costs n²/2 pairs. This store sorts the rows once and looks up each entity row
(`two_tower.data.asof`). It reads nanoseconds, which Feast's DuckDB store cannot compare, as microseconds. All other
operations, and the results, are those of Feast's DuckDB store.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import ibis
import pandas as pd
import pyarrow as pa
from feast.data_source import DataSource
from feast.feature_view import FeatureView
from feast.infra.offline_stores.duckdb import (
    DuckDBOfflineStore,
    DuckDBOfflineStoreConfig,
    _read_data_source,
    _write_data_source,
)
from feast.infra.offline_stores.ibis import IbisRetrievalJob, pull_all_from_table_or_query_ibis
from feast.infra.offline_stores.offline_store import RetrievalJob
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.infra.registry.base_registry import BaseRegistry
from feast.repo_config import RepoConfig

from two_tower.data.asof import CREATED, KEY, TIME, FeatureRows

_BATCH = 65_536  # rows
_VIEW = "two_tower_rows"
_UTC = ibis.expr.datatypes.Timestamp(timezone="UTC")
_SEPARATOR = "\x1f"  # between the join keys of a view with several


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
            (column,) = _join_keys(view).values()
            features = self._feature_rows(config, view, names).as_of(entity_df[column], stamps, view.ttl, names)
            for name, values in zip(names, features.columns, strict=True):
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

    def latest(self, config: RepoConfig, view: FeatureView, until: datetime, size: int) -> Iterator[pa.Table]:
        """Yield the newest row of every key of an online view; the rows that the join would give at that time.

        Args:
            config: The configuration of the feature store.
            view: The feature view.
            until: Rows with a later timestamp are left out.
            size: The largest number of rows of a table.

        Yields:
            Tables with the join keys and features, by their names in the view, and TIME.
        """
        return self._feature_rows(config, view, []).latest(until, size)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> RetrievalJob:
        """Read the rows of a source, as Feast's DuckDB store does with the same arguments."""
        return pull_all_from_table_or_query_ibis(
            config=config,
            data_source=data_source,
            join_key_columns=join_key_columns,
            feature_name_columns=feature_name_columns,
            timestamp_field=timestamp_field,
            created_timestamp_column=created_timestamp_column,
            start_date=start_date,
            end_date=end_date,
            data_source_reader=_read_microseconds,
            data_source_writer=_write_data_source,
        )

    def _feature_rows(self, config: RepoConfig, view: FeatureView, names: list[str]) -> FeatureRows:
        """Return the rows of a view, read once: all columns of an online view, else the given features."""
        columns = [*_keys(view), *(f.name for f in view.features)] if view.online else names
        if (view.name, *columns) not in self._rows:
            self._rows[view.name, *columns] = _read(config, view, columns)
        return self._rows[view.name, *columns]


def _read_microseconds(source: DataSource, repo_path: str) -> ibis.Table:
    """Read a source, with timestamps of nanoseconds and a time zone, which DuckDB cannot compare, as microseconds."""
    table = _read_data_source(source, repo_path)
    nanoseconds = [name for name, dtype in table.schema().items() if "TIMESTAMPTZ_NS" in str(dtype)]
    return table.mutate(**{name: table[name].cast(_UTC) for name in nanoseconds})


def source_column(view: FeatureView, name: str) -> str:
    """Return the name, in the source of a feature view, of a column of the view."""
    return {new: old for old, new in view.batch_source.field_mapping.items()}.get(name, name)


def _join_keys(view: FeatureView) -> dict[str, str]:
    """Map the join keys of the view to columns of the entity dataframe."""
    return view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}


def _keys(view: FeatureView) -> list[str]:
    return [column.name for column in view.entity_columns]


def _read(config: RepoConfig, view: FeatureView, names: list[str]) -> FeatureRows:
    source = view.batch_source
    keys = [source_column(view, key) for key in _keys(view)]
    stored = {name: source_column(view, name) for name in names}
    stamps = {TIME: source.timestamp_field}
    if source.created_timestamp_column:
        stamps[CREATED] = source.created_timestamp_column
    columns = {new: source_column(view, name) for new, name in stamps.items()}
    features = [c for c in dict.fromkeys(stored.values()) if c not in {*keys, *columns.values()}]
    table = AsOfOfflineStore.pull_all_from_table_or_query(
        config, source, keys, features, columns[TIME], columns.get(CREATED)
    ).table
    key = table[keys[0]] if len(keys) == 1 else ibis.literal(_SEPARATOR).join([table[k].cast("string") for k in keys])
    rows = table.select(
        **{KEY: key},
        **{new: table[column].cast(_UTC) for new, column in columns.items()},
        **{name: table[column] for name, column in stored.items()},
    )
    backend = ibis.get_backend(rows)
    # Not `to_pyarrow_batches`: in ibis 12 it calls a method that DuckDB 2 no longer has.
    backend.create_view(_VIEW, rows.filter(rows[KEY].notnull() & rows[TIME].notnull()), overwrite=True)
    batches = backend.con.sql(f"from {_VIEW}").to_arrow_reader(_BATCH)
    return FeatureRows(batches.schema, batches)
