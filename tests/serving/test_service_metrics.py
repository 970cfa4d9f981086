"""What the service tells its watchers, and the dashboard that shows it."""

import json
import re
from pathlib import Path

from serving.metrics import STAGES, Metrics

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "two-tower.json"


def test_the_dashboard_shows_metrics_that_there_are():
    metrics = Metrics()
    metrics.answered(dict.fromkeys(STAGES, 0.001), "popular")
    metrics.switched(None, "r1", "CPUExecutionProvider")
    exported = set(re.findall(r"^# TYPE (\w+)", metrics.text().decode(), re.MULTILINE)) | {"two_tower_requests_total"}
    exported |= {f"{name}_{part}" for name in set(exported) for part in ("bucket", "sum", "count")}
    asked = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            asked |= set(re.findall(r"\b(?:two_tower|process)_\w+", target["expr"]))
    assert asked and asked <= exported, asked - exported


def test_a_switch_leaves_one_release_and_one_provider():
    metrics = Metrics()
    metrics.switched(None, "r1", "CPUExecutionProvider")
    metrics.switched("r1", "r2", "CUDAExecutionProvider")
    lines = metrics.text().decode().splitlines()
    for line in (
        'two_tower_release{release="r1"} 0.0',
        'two_tower_release{release="r2"} 1.0',
        'two_tower_provider{provider="CPUExecutionProvider"} 0.0',
        'two_tower_provider{provider="CUDAExecutionProvider"} 1.0',
    ):
        assert line in lines


def test_batches_are_measured(with_store):
    for user in ("ann", "bob"):
        with_store.post("/v1/recommend", json={"user_id": user})
    text = with_store.get("/metrics").text
    assert 'two_tower_batch_size_sum{call="towers"} 2.0' in text
    assert 'two_tower_provider{provider="CPUExecutionProvider"} 1.0' in text
    age = next(line for line in text.splitlines() if line.startswith("two_tower_feature_age_seconds "))
    assert float(age.split()[1]) > 3e7  # the features are of January 2024
