"""The compiled pipelines: what Kubeflow will be given."""

from pathlib import Path

import pytest
import yaml
from kfp import compiler

from components import DATA_IMAGE, TRAIN_IMAGE
from pipelines.training import ACCELERATOR, training, training_on_dataset

UNCACHED = {"promote", "report", "promotion-gate", "materialise", "publish"}


@pytest.fixture(scope="module", params=[training, training_on_dataset], ids=["feature-repo", "dataset"])
def spec(request, tmp_path_factory: pytest.TempPathFactory) -> dict:
    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    compiler.Compiler().compile(request.param, str(path))
    return next(iter(yaml.safe_load_all(path.read_text())))


def tasks(spec: dict) -> dict[str, dict]:
    """Steps by the name that the pipeline gives them."""
    return {task["taskInfo"]["name"]: task for task in spec["root"]["dag"]["tasks"].values()}


def test_the_line_is_in_order(spec: dict) -> None:
    named = {key: task["taskInfo"]["name"] for key, task in spec["root"]["dag"]["tasks"].items()}
    before = {
        named[k]: {named[d] for d in t.get("dependentTasks", [])} for k, t in spec["root"]["dag"]["tasks"].items()
    }
    assert "data-gate" in before["train"]
    assert "parity-gate" in before["index"]
    assert "parity-gate" in before["evaluate"]
    assert {"promotion-gate"} <= before["materialise"]
    assert {"materialise", "index", "report"} <= before["publish"]
    assert "report" in before["promotion-gate"], "a held release still has its report"


def test_only_what_touches_the_world_is_never_reused(spec: dict) -> None:
    cached = {name: task["cachingOptions"].get("enableCache", False) for name, task in tasks(spec).items()}
    assert {name for name, is_cached in cached.items() if not is_cached} - {"importer"} == UNCACHED


def test_training_alone_asks_for_a_gpu_and_every_image_has_its_version(spec: dict) -> None:
    containers = {
        name: executor["container"]
        for name, executor in spec["deploymentSpec"]["executors"].items()
        if "container" in executor
    }
    with_gpu = {name for name, c in containers.items() if c.get("resources", {}).get("accelerator")}
    assert with_gpu == {"exec-train"}
    assert containers["exec-train"]["resources"]["accelerator"]["resourceType"] == ACCELERATOR
    assert {c["image"] for c in containers.values()} == {DATA_IMAGE, TRAIN_IMAGE}
    assert not any("latest" in c["image"] for c in containers.values())


def test_components_are_shells() -> None:
    for path in (Path(__file__).parents[2] / "components").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 30, f"{path.name} does more than call the library"
