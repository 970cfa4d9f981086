#!/usr/bin/env bash
# feast 0.67.0, default offline store (dask): a point-in-time join returns fewer rows than it was given.
#
# Behaviour: get_historical_features drops an entity row whose key has feature rows, but none at or before the row's
# time. An entity row whose key has no feature row at all is kept, with missing values. There is no warning or error. The
# duckdb store keeps both kinds of rows. Training data built with the default store therefore lack the first events of
# each new key.
# Seen with feast 0.67.0, Python 3.11, on 2026-11-28; the output:
#     dask: 4 rows in, 2 rows out: keys [1, 2]
#     duckdb: 4 rows in, 4 rows out: keys [1, 1, 2, 3]
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

import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

day = pd.Timedelta(days=1)
start = pd.Timestamp("2024-01-02", tz="UTC")
# key 1 has a row from the start, key 3 one that is five days later, key 2 has none
features = pd.DataFrame({"key": [1, 3], "event_timestamp": [start, start + 5 * day], "value": [10, 30]})
entities = pd.DataFrame({"key": [1, 2, 3, 1], "event_timestamp": [start + day] * 3 + [start - day]})
kept = {}
for kind in ("dask", "duckdb"):
    folder = pathlib.Path(kind).resolve()
    folder.mkdir()
    features.to_parquet(folder / "features.parquet")
    (folder / "feature_store.yaml").write_text(
        f"project: example\nprovider: local\nregistry: registry.db\noffline_store: {{type: {kind}}}\n"
        "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
    )
    key = Entity(name="key", join_keys=["key"], value_type=ValueType.INT64)
    source = FileSource(path=str(folder / "features.parquet"), timestamp_field="event_timestamp")
    view = FeatureView(name="view", entities=[key], source=source, schema=[Field(name="value", dtype=Int64)])
    store = FeatureStore(repo_path=str(folder))
    store.apply([key, view])
    joined = store.get_historical_features(entities, ["view:value"]).to_df()
    kept[kind] = sorted(joined["key"].tolist())
    print(f"{kind}: {len(entities)} rows in, {len(joined)} rows out: keys {kept[kind]}", flush=True)
os._exit(kept != {"dask": [1, 2], "duckdb": [1, 1, 2, 3]})  # without the leak report of a library at exit
PYTHON
