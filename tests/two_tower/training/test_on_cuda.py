"""Training on a GPU beside the CPU's, which every other test here is about."""

import shutil
from dataclasses import replace

import pytest
import torch

from tests.devices import CUDA
from tests.two_tower.training.test_checkpoint import KilledError, killed_at
from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.training.network import model
from two_tower.training.network.encoders import fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.streaming.source import InMemory
from two_tower.training.train import train
from two_tower.training.trainer import Trainer

pytestmark = pytest.mark.skipif(not CUDA, reason="there is no CUDA device")

SMALL = {"dim": 8, "feature_dim": 8, "hidden": 16, "batch_size": 48, "dropout": 0, "id_dropout": 0, "epochs": 3}
WAYS = [
    {},
    {"negatives": "queue", "sampled_negatives": 100, "history": "attention"},
    {"negatives": "hard", "sampled_negatives": 64, "hard_refresh": 5, "sparse_rows": 1},
    {"negatives": "mixed", "sampled_negatives": 50},
    {"negatives": "own", "loss": "bpr", "sampled_negatives": 96},
    {"loss": "info_nce"},
]


def losses(config: TrainConfig) -> list[float]:
    torch.manual_seed(0)
    world, device = checkerboard(users=20, items=40, per_user=16), torch.device(config.device)
    encoders = fit(world)
    network = TwoTower(encoders, config)
    positives = InMemory(world).positives(encoders, network, config, device)
    trainer = Trainer(network.to(device), positives, config)
    return [trainer.advance(rows).item() for epoch in (1, 2) for rows in trainer.batches(epoch)]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: " ".join(map(str, way.values())))
def test_the_steps_are_those_of_the_cpu(way):
    cpu, cuda = (losses(TrainConfig(**SMALL, **way, device=device)) for device in ("cpu", "cuda"))
    assert cuda == pytest.approx(cpu, rel=1e-3) and len(cpu) >= 6


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="there is no C compiler, which Triton needs")
@pytest.mark.filterwarnings("ignore")  # of inductor's own
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_compiled_steps_are_those_of_the_cpu(precision):
    eager = losses(TrainConfig(**SMALL, device="cpu"))
    compiled = losses(TrainConfig(**SMALL, device="cuda", compile=True, precision=precision))
    assert compiled == pytest.approx(eager, rel=1e-3 if precision == "float32" else 0.05)


def test_a_broken_run_goes_on_and_its_model_is_read_on_a_cpu(tmp_path, monkeypatch, capsys):
    config = TrainConfig(**SMALL, device="cuda", negatives="queue", sampled_negatives=100, checkpoint_seconds=0)
    world = checkerboard(users=20, items=40, per_user=16)
    whole = train(world, config, tmp_path / "whole")
    kept = replace(config, checkpoints=str(tmp_path / "kept"))
    with killed_at(7, monkeypatch), pytest.raises(KilledError):
        train(world, kept, tmp_path / "broken")
    resumed = train(world, kept, tmp_path / "broken")
    assert "resuming after step 7, in epoch 2" in capsys.readouterr().out
    found, expected = ([epoch["loss"] for epoch in run["history"]] for run in (resumed, whole))
    assert found == pytest.approx(expected, rel=1e-3)
    assert all(p.device.type == "cpu" for p in model.load(tmp_path / "broken").network.parameters())
