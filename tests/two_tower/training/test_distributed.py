"""Two processes with the same global batch beside one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.two_tower.worlds import checkerboard
from two_tower.training.distributed import ProcessGroup

CHILD = """
import hashlib, json, os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.training.sampling import samplers
from two_tower.training.train import train
from two_tower.training.trainer import Trainer
samplers.NEAREST = 5
folder, settings, rank = Path(sys.argv[1]), json.loads(sys.argv[2]), os.environ.get("RANK", "0")
losses, users, trainers, advance, embedded = [], [], [], Trainer.advance, Trainer._embedded
def embedding(self, tower, columns, rows):
    if tower is self.network.user:
        users.append([(int(columns.ids[r, 0]), int(self.positives.item[r + self.positives.before])) for r in rows])
    return embedded(self, tower, columns, rows)
def advancing(self, rows):
    if os.environ["KILLED"] == f"rank {rank}, step {self.step}":
        os.kill(os.getpid(), signal.SIGKILL)
    trainers[:] = [self]
    losses.append(float(advance(self, rows)))
    return torch.tensor(losses[-1])
Trainer._embedded, Trainer.advance = embedding, advancing
kept = settings.pop("checkpoints", "").replace("RANK", rank)
world = folder.parent / "pulled" if settings.get("stream") == "on" else checkerboard(users=20, items=40, per_user=16)
train(world, TrainConfig(**settings, checkpoints=kept), folder)
bits = hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in trainers[0].network.parameters())).hexdigest()
(folder / f"noted-{rank}.json").write_text(json.dumps({"losses": losses, "users": users, "bits": bits}))
"""
SETTINGS = {"dim": 8, "hidden": 8, "batch_size": 50, "epochs": 3, "dropout": 0, "id_dropout": 0, "device": "cpu"}


def test_ranks_share_rows_without_gap_or_overlap():
    rows = torch.arange(11)
    for size in (1, 2, 3, 4):
        group = [ProcessGroup(rank, size) for rank in range(size)]
        assert torch.equal(torch.cat([rows[one.share(11)] for one in group]), rows)
        padded = [one.padded_share(rows) for one in group]
        assert len({len(part) for part in padded}) == 1 and torch.equal(torch.cat(padded)[:11], rows)


def run(folder: Path, processes: int, killed: str = "", **settings) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    script = folder / "child.py"
    script.write_text(CHILD)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, str(script), str(folder), json.dumps(SETTINGS | settings)]
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "PATH": "/usr/bin:/bin",
        "OMP_NUM_THREADS": "1",
        "KILLED": killed,
    }
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        {},
        {"negatives": "queue", "sampled_negatives": 60},
        {"negatives": "hard", "sampled_negatives": 100, "hard_refresh": 5},
        {"stream": "on", "negatives": "mixed", "loss": "info_nce"},
        {"sparse_rows": 1, "history": "attention"},
    ],
    ids=["in_batch", "queue", "hard", "streamed", "sparse"],
)
def test_two_processes_follow_the_loss_of_one(tmp_path, way):
    checkerboard(users=20, items=40, per_user=16).write(tmp_path / "pulled")
    noted = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        done = run(folder, processes, **way)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("epoch 1/3") == 1 and (folder / "model.safetensors").is_file()
        files = sorted(folder.glob("noted-*.json"))
        assert len(files) == processes
        noted += [json.loads(file.read_text()) for file in files]
    alone, first, second = noted
    assert (
        first["losses"] == second["losses"] == pytest.approx(alone["losses"], abs=1e-5) and len(alone["losses"]) >= 10
    )
    assert first["bits"] == second["bits"]
    for whole, one, other in zip(alone["users"], first["users"], second["users"], strict=True):
        assert sorted(one + other) == sorted(whole) and abs(len(one) - len(other)) <= 1  # each embeds its own


@pytest.mark.slow
def test_two_processes_that_were_killed_go_on_with_the_same_bits(tmp_path):
    """With all that each of them draws for itself, mines, or touches only some rows of."""
    way = {"negatives": "hard", "sampled_negatives": 100, "hard_refresh": 3, "sparse_rows": 1, "dropout": 0.2}
    way |= {"id_dropout": 0.1, "checkpoint_seconds": 0}
    kept = str(tmp_path / "kept")
    assert run(tmp_path / "whole", 2, **way).returncode == 0
    assert run(tmp_path / "broken", 2, killed="rank 1, step 8", **way, checkpoints=kept).returncode != 0
    (tmp_path / "kept-0").symlink_to(kept)
    apart = run(tmp_path / "broken", 2, **way, checkpoints=f"{kept}-RANK")
    assert "is not the same place for all processes" in apart.stderr
    done = run(tmp_path / "broken", 2, **way, checkpoints=kept)
    assert re.search("resuming after step [78], in epoch 2", done.stdout), done.stderr[-2000:]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken")]
    assert weights[0] == weights[1]
