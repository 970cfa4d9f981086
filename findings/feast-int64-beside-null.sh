#!/usr/bin/env bash
# feast 0.67.0, materialize: an Int64 above 2^53 changes if another row of the batch is null.
#
# Behaviour: materialize converts the rows of a view column by column. A column of Int64 without nulls reaches the online
# store as it is. If one row is null, the whole column passes through float64, and other keys' values above 2^53, such as
# ids, are rounded. There is no warning or error. The same source read with get_historical_features has the right value
# as an arrow table, so training and serving differ.
# Seen with feast 0.67.0, Python 3.11, on 2026-11-28; the output:
#     without a null: 9007199254740993 in the source, 9007199254740993 online
#     beside a null: 9007199254740993 in the source, 9007199254740992 online
# Exits with 1 where the behaviour differs from this description.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet 'feast[duckdb]==0.67.0' 'pandas==2.3.3'
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import os
import pathlib
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

number = 2**53 + 1
start, end = datetime(2024, 1, 1, tzinfo=timezone.utc), datetime(2024, 1, 2, tzinfo=timezone.utc)
online = {}
for name, other in (("without a null", 7), ("beside a null", None)):
    folder = pathlib.Path(name.replace(" ", "-")).resolve()
    folder.mkdir()
    stamps = pa.array([start] * 2, pa.timestamp("us", tz="UTC"))
    rows = {"key": pa.array([1, 2]), "event_timestamp": stamps, "value": pa.array([number, other], pa.int64())}
    pq.write_table(pa.table(rows), folder / "features.parquet")
    (folder / "feature_store.yaml").write_text(
        "project: example\nprovider: local\nregistry: registry.db\noffline_store: {type: duckdb}\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
    )
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "features.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name="view", entities=[key], source=source, schema=[Field(name="value", dtype=Int64)])
    store = FeatureStore(repo_path=str(folder))
    store.apply([key, view])
    store.materialize(start.replace(year=2023), end)
    (online[name],) = store.get_online_features(["view:value"], [{"key": 1}]).to_dict()["value"]
    print(f"{name}: {number} in the source, {online[name]} online", flush=True)
os._exit(online != {"without a null": number, "beside a null": number - 1})
PYTHON
