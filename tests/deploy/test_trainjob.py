"""The job for Kubeflow Trainer: what Trainer takes, and what its nodes then run."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.schemas import check, check_train_job
from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig, with_assignments
from two_tower.training.network import model

MANIFEST = Path(__file__).parents[2] / "deploy" / "trainer" / "trainjob.yaml"
# The fields of trainer.kubeflow.org/v1alpha1 that all versions 2.0 to 2.3 of Trainer know.
TRAINER = ("image", "command", "args", "env", "numNodes", "numProcPerNode", "resourcesPerNode")
SPEC = {
    "type": "object",
    "required": ["runtimeRef", "trainer"],
    "additionalProperties": False,
    "properties": {
        "runtimeRef": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {key: {"type": "string"} for key in ("apiGroup", "kind", "name")},
        },
        "trainer": {
            "type": "object",
            "additionalProperties": False,
            "required": list(TRAINER),
            "properties": {key: {} for key in TRAINER}
            | {"numNodes": {"type": "integer"}, "numProcPerNode": {"type": "integer"}},
        },
    },
}


@pytest.fixture
def job() -> dict[str, Any]:
    return yaml.safe_load(MANIFEST.read_text())


def test_trainer_takes_the_job_in_every_version(job: dict[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    jsonschema.validate(job["spec"], SPEC)
    job["spec"]["trainer"]["numNode"] = 3
    with pytest.raises(jsonschema.ValidationError, match="numNode"):
        jsonschema.validate(job["spec"], SPEC)


def test_trainer_s_own_definition_takes_it(job: dict[str, Any]) -> None:
    check_train_job(job)
    job["spec"]["trainer"]["numNode"] = 3
    with pytest.raises(jsonschema.ValidationError, match="numNode"):
        check_train_job(job)


def test_kubernetes_takes_the_container_that_comes_of_it(job: dict[str, Any]) -> None:
    given = job["spec"]["trainer"]
    container = {name: given[name] for name in ("image", "command", "args", "env")}
    container |= {"name": "node", "resources": given["resourcesPerNode"]}
    check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "node"}, "spec": {"containers": [container]}})
    assert not [one["name"] for one in given["env"] if one["name"].startswith("PET_")], "Trainer's own"


def test_its_settings_are_known_and_a_process_has_a_gpu(job: dict[str, Any]) -> None:
    given = job["spec"]["trainer"]
    sets = [one.removeprefix("--set=") for one in given["args"] if one.startswith("--set=")]
    config = with_assignments({"train": TrainConfig()}, sets)["train"]
    assert config.device == "cuda" and config.checkpoints.startswith("s3://")
    assert given["image"].endswith("-cuda")
    assert given["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == str(given["numProcPerNode"])


@pytest.mark.slow
def test_two_nodes_train_one_model(job: dict[str, Any], tmp_path: Path) -> None:
    """Each node's command, with the environment that Trainer's torch plugin sets, on this machine's processor."""
    checkerboard(users=20, items=40, per_user=16).write(tmp_path / "pulled")
    given = job["spec"]["trainer"]
    assert given["command"] == ["torchrun"]
    here = [re.sub(r"s3://BUCKET", str(tmp_path), one).replace("=cuda", "=cpu") for one in given["args"]]
    here += ["--set=dim=8", "--set=hidden=8", "--set=batch_size=64", "--set=epochs=2"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    usual = {"PATH": os.environ["PATH"], "PYTHONPATH": str(MANIFEST.parents[2]), "OMP_NUM_THREADS": "1"}
    usual |= {"PET_NNODES": str(given["numNodes"]), "PET_NPROC_PER_NODE": str(given["numProcPerNode"])}
    usual |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
    command = [str(Path(sys.executable).with_name("torchrun")), *here]
    nodes = [
        subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=usual | {"PET_NODE_RANK": str(rank)})
        for rank in range(given["numNodes"])
    ]
    said = [node.communicate(timeout=180) for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said[0][1][-2000:]
    assert [out.count("epoch 1/2") for out, _ in said] == [1, 0], "the first node speaks"
    assert model.load(tmp_path / "models" / "two-tower").config.dim == 8
