"""`python -m two_tower.training`, as torchrun, Katib and Kubeflow Trainer start it."""

import subprocess
import sys
from pathlib import Path

import fsspec
import pytest

from tests.two_tower.worlds import checkerboard
from two_tower.data.pulled import Pulled
from two_tower.training.__main__ import main
from two_tower.training.network import model

SMALL = [f"--set={one}" for one in ("dim=8", "hidden=8", "batch_size=64", "epochs=2", "device=cpu")]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pulled")
    checkerboard(users=20, items=40, per_user=16).write(folder)
    return folder


def test_a_folder_becomes_a_model(pulled, tmp_path):
    assert main(["--pulled", str(pulled), "--out", str(tmp_path / "model"), *SMALL]) == 0
    trained = model.load(tmp_path / "model")
    assert (trained.config.dim, trained.config.epochs) == (8, 2)


def test_addresses_in_an_object_store_do_as_well(pulled):
    store = fsspec.filesystem("memory")
    store.put(f"{pulled}/", "/shop/pulled/", recursive=True)
    assert main(["--pulled", "memory://shop/pulled", "--out", "memory://shop/models/m1", *SMALL]) == 0
    assert store.exists("/shop/models/m1/model.json") and store.exists("/shop/models/m1/model.safetensors")
    assert store.ls("/shop/models/m1/tensorboard")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pulled", "/no/such"], "pulled.json is missing"),
        (["--pulled", "memory://no/such"], "does not exist"),
        (["--set", "epoch=3"], "Did you mean 'epochs'"),
        (["--set", "min_lift=2"], "unknown setting 'min_lift'"),  # of another step
        (["--set", "loss=softmax"], "Did you mean 'sampled_softmax'"),
    ],
)
def test_bad_input_is_a_sentence_and_status_2(pulled, tmp_path, capsys, arguments, said):
    out = tmp_path / "model"
    assert main(["--pulled", str(pulled), "--out", str(out), *arguments]) == 2
    assert said in capsys.readouterr().err and not out.exists()


@pytest.mark.slow
def test_torchrun_starts_it(pulled, tmp_path):
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "two_tower.training"]
    command = [sys.executable, *launch, "--pulled", str(pulled), "--out", str(tmp_path / "model"), *SMALL]
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("epoch 1/2") == 1, "one process speaks"
    assert model.load(tmp_path / "model").contract == Pulled.read(pulled).contract
