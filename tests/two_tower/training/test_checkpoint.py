"""A run that is broken off, and what the next one makes of it."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.two_tower.worlds import checkerboard, every_encoding
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.checkpoint import PROGRESS, Checkpoints, run_key
from two_tower.training.train import train
from two_tower.training.trainer import Trainer

SMALL = {"dim": 8, "feature_dim": 8, "hidden": 16, "batch_size": 64, "epochs": 3, "device": "cpu", "patience": 9}


class KilledError(Exception):
    pass


@contextmanager
def killed_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the process die, as far as the run can tell, right before a step."""
    advance = Trainer.advance

    def mortal(self, rows):
        if self.step == step:
            raise KilledError
        return advance(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", mortal)
        yield


@pytest.mark.parametrize(
    "way",
    [
        {},
        {"negatives": "queue", "sampled_negatives": 100, "history": "attention"},
        {"negatives": "hard", "sampled_negatives": 64, "hard_refresh": 5, "sparse_rows": 1},
        {"negatives": "mixed", "sampled_negatives": 50, "schedule": "cosine", "warmup": 3},
    ],
    ids=lambda way: way.get("negatives", "in_batch"),
)
def test_a_broken_run_ends_with_the_same_bits(tmp_path, monkeypatch, capsys, way):
    config = TrainConfig(**SMALL, **way, checkpoint_seconds=0)
    world = checkerboard(users=20, items=40, per_user=16)
    whole = train(world, config, tmp_path / "whole")
    kept = replace(config, checkpoints=str(tmp_path / "kept"))
    for step in (3, 7):  # within the second epoch, for one has four steps
        with killed_at(step, monkeypatch), pytest.raises(KilledError):
            train(world, kept, tmp_path / "broken")
    resumed = train(world, kept, tmp_path / "broken")
    assert "resuming after step 7, in epoch 2" in capsys.readouterr().out
    assert resumed["embedding_space"] == whole["embedding_space"]
    for one, other in zip(resumed["history"], whole["history"], strict=True):
        assert (one["loss"], one["recall@20"]) == (other["loss"], other["recall@20"])
    assert (tmp_path / "broken/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert not list((tmp_path / "kept").glob("*/*"))  # what a run at its end leaves behind


def test_a_run_is_known_by_its_data_and_its_settings():
    config = TrainConfig(**SMALL)
    world = checkerboard()
    key = run_key(world, config)
    assert run_key(checkerboard(), config) == key
    assert key not in (run_key(checkerboard(seed=1), config), run_key(world, replace(config, seed=1)))
    assert run_key(every_encoding(), config) != key


def test_the_newest_whole_checkpoint_counts_and_older_ones_go(tmp_path):
    checkpoints = Checkpoints(str(tmp_path), "run")
    assert checkpoints.newest() is None
    for step in (9, 10):
        checkpoints.save(step, {"a": torch.full((2,), float(step))}, {"step": step})
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["000000000010"]
    torn = tmp_path / "run" / "000000000011"
    torn.mkdir()
    (torn / "state.safetensors").write_bytes(b"half")
    tensors, progress = checkpoints.newest()
    assert progress == {"step": 10} and tensors["a"].tolist() == [10, 10]


def test_divergence_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    config = TrainConfig(
        **{**SMALL, "similarity": "dot", "learning_rate": 1e30, "batch_size": 32, "checkpoint_seconds": 0},
        checkpoints=str(tmp_path / "kept"),
    )
    with pytest.raises(
        InputError, match=r"The loss is (nan|inf) at step \d+ of epoch \d+.*last checkpoint before it is kept"
    ):
        train(checkerboard(), config, tmp_path / "model")
    assert not (tmp_path / "model" / "model.json").exists()
    (kept,) = (tmp_path / "kept").glob("*/*")
    progress = json.loads((kept / PROGRESS).read_text())
    assert progress["losses"] and all(math.isfinite(loss) for loss in progress["losses"])
    assert load_file(kept / "state.safetensors")
