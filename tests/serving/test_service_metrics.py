"""What the service tells its watchers, and the dashboard that shows it."""

import json
import re
from pathlib import Path

import yaml

from serving.observability.metrics import STAGES, Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "kustomize" / "base" / "alerts.yaml"
OPERATIONS = DEPLOY.parent / "docs" / "operations.md"


def unknown_to_the_service(expressions):
    """The metrics that expressions ask for and the service does not export."""
    metrics = Metrics()
    metrics.answered(dict.fromkeys(STAGES, 0.001), "popular")
    metrics.switched(None, "r1", "CPUExecutionProvider")
    exported = set(re.findall(r"^# TYPE (\w+)", metrics.text().decode(), re.MULTILINE)) | {"two_tower_requests_total"}
    exported |= {f"{name}_{part}" for name in set(exported) for part in ("bucket", "sum", "count")}
    asked = {name for one in expressions for name in re.findall(r"\b(?:two_tower|process)_\w+", one)}
    assert asked
    return asked - exported


def test_the_dashboard_shows_metrics_that_there_are():
    panels = json.loads((DEPLOY / "grafana" / "two-tower.json").read_text())["panels"]
    assert not unknown_to_the_service(target["expr"] for panel in panels for target in panel["targets"])


def test_alerts_ask_for_metrics_that_there_are_and_are_explained():
    (group,) = yaml.safe_load(ALERTS.read_text())["spec"]["groups"]
    assert not unknown_to_the_service(rule["expr"] for rule in group["rules"])
    explained = set(re.findall(r"`(TwoTower\w+)`", OPERATIONS.read_text()))
    assert explained == {rule["alert"] for rule in group["rules"]}


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
