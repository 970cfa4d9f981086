"""The training pipelines as they run on a laptop; tests/pipelines/kubeflow/test_compiled.py has them on a cluster."""

from pathlib import Path

import pytest
from kfp import compiler

from components import DATA_IMAGE, SERVING_IMAGE, TRAIN_IMAGE
from pipelines.training import training, training_on_dataset
from tests.pipelines.specs import Compiled


@pytest.mark.parametrize("pipeline", [training, training_on_dataset], ids=["feature-repo", "dataset"])
def test_a_laptop_is_asked_for_nothing_special(pipeline, tmp_path: Path) -> None:
    compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
    line = Compiled(tmp_path / "p.yaml")
    for name in line.containers():
        assert line.container(name)["image"] in (DATA_IMAGE, TRAIN_IMAGE, SERVING_IMAGE)
        assert "resources" not in line.container(name)
        assert "retryPolicy" not in line.steps[name]
    assert not line.platform


def test_the_two_pipelines_differ_in_their_source_alone(tmp_path: Path) -> None:
    lines = []
    for pipeline in (training, training_on_dataset):
        compiler.Compiler().compile(pipeline, str(tmp_path / "p.yaml"))
        lines.append(set(Compiled(tmp_path / "p.yaml").steps))
    assert lines[0] ^ lines[1] == {"fingerprint-repository", "fetch-repository", "prepare"}
