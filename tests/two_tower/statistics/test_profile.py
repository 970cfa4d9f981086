import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from two_tower.inputs import arrow_schema
from two_tower.schema import feature
from two_tower.statistics.profile import profile

NOW = datetime(2024, 1, 11, tzinfo=UTC)


def test_known_profiles():
    features = (
        feature("country", "String", {}),
        feature("spend", "Float32", {}),
        feature("joined", "UnixTimestamp", {}),
        feature("wakes", "UnixTimestamp", {"encoding": "cyclic"}),
        feature("topics", "Array(String)", {}),
        feature("portrait", "Array(Float32)", {}),
        feature("empty", "Int64", {}),
    )
    rows = [
        {"country": "a", "spend": 1.0, "joined": NOW - timedelta(days=2), "topics": ["x", "y"], "portrait": [3.0, 4.0]},
        {"country": "a", "spend": 3.0, "joined": NOW - timedelta(days=4), "topics": ["x"], "wakes": NOW},
        {"country": "b", "spend": None, "topics": None, "wakes": NOW + timedelta(hours=6)},
        {"country": None, "spend": 2.0, "joined": NOW, "topics": []},
    ]
    table = pa.Table.from_pylist(
        [{f.name: r.get(f.name) for f in features} for r in rows], schema=arrow_schema(features)
    )
    found = profile(table, features, np.full(4, int(NOW.timestamp())))
    json.dumps(found)
    assert found["rows"] == 4
    f = found["features"]
    assert f["country"] == {"null_share": 0.25, "top": [["a", 2 / 3], ["b", 1 / 3]]}
    assert f["spend"]["null_share"] == 0.25
    assert f["spend"]["quantiles"][::5] == [1, 2, 3] and len(f["spend"]["quantiles"]) == 11
    assert f["joined"]["quantiles"][::5] == [0, 2, 4]
    assert f["wakes"]["quantiles"][::5] == [0, 3, 6]
    assert f["topics"] == {"null_share": 0.5, "top": [["x", 2 / 3], ["y", 1 / 3]]}
    assert f["portrait"]["quantiles"][0] == 5
    assert f["empty"] == {"null_share": 1}


def test_only_the_most_frequent_values_are_kept():
    f = feature("item", "String", {})
    table = pa.table({"item": [f"i{i}" for i in range(50)] + ["i7"] * 5})
    (top,) = [v["top"] for v in profile(table, (f,), np.zeros(55, np.int64))["features"].values()]
    assert len(top) == 20 and top[0] == ["i7", 6 / 55]
