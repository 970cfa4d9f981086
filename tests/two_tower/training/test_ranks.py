"""Two processes with the same global batch beside one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from worlds import checkerboard

from two_tower.training.ranks import Ranks

CHILD = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.training.train import train
from two_tower.training.trainer import Trainer
losses, advance = [], Trainer.advance
users, embedded = [], Trainer._embedded
def noted(self, tower, columns, rows):
    if tower is self.network.user:
        users.append([(int(columns.ids[r, 0]), int(self.positives.item[r + self.positives.before])) for r in rows])
    return embedded(self, tower, columns, rows)
Trainer._embedded = noted
Trainer.advance = lambda self, rows: losses.append(advance(self, rows)) or losses[-1]
folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
world = folder.parent / "pulled" if settings.get("stream") == "on" else checkerboard(users=20, items=40, per_user=16)
train(world, TrainConfig(**settings), folder)
(folder / f"losses-{torch.initial_seed()}.json").write_text(json.dumps([float(loss) for loss in losses]))
(folder / f"users-{torch.initial_seed()}.json").write_text(json.dumps(users))
"""
SETTINGS = {"dim": 8, "hidden": 8, "batch_size": 50, "epochs": 3, "dropout": 0, "id_dropout": 0, "device": "cpu"}


def test_ranks_share_rows_without_gap_or_overlap():
    rows = torch.arange(11)
    for size in (1, 2, 3, 4):
        among = [Ranks(rank, size) for rank in range(size)]
        assert torch.equal(torch.cat([rows[one.share(11)] for one in among]), rows)
        padded = [one.padded(rows) for one in among]
        assert len({len(part) for part in padded}) == 1 and torch.equal(torch.cat(padded)[:11], rows)


def run(folder: Path, processes: int, **settings) -> subprocess.CompletedProcess[str]:
    script = folder / "child.py"
    script.write_text(CHILD)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    command = [sys.executable, *launch, str(script), str(folder), json.dumps(SETTINGS | settings)]
    paths = f"{Path(__file__).parents[1]}:{Path(__file__).parents[3]}"
    environment = {"PYTHONPATH": paths, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [{}, {"negatives": "queue", "sampled_negatives": 60}, {"stream": "on", "negatives": "mixed", "loss": "info_nce"}],
)
def test_two_processes_follow_the_loss_of_one(tmp_path, way):
    checkerboard(users=20, items=40, per_user=16).write(tmp_path / "pulled")
    losses = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        done = run(folder, processes, **way)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("epoch 1/3") == 1 and (folder / "model.safetensors").is_file()
        files = sorted(folder.glob("losses-*.json"))
        assert len(files) == processes
        losses += [json.loads(file.read_text()) for file in files]
    alone, *both = losses
    for one in both:
        assert one == pytest.approx(alone, abs=1e-5) and len(one) >= 10
    alone, *both = (json.loads(file.read_text()) for file in sorted(tmp_path.glob("*/users-*.json")))
    for whole, first, second in zip(alone, *both, strict=True):  # each embeds its own users of a batch
        assert sorted(first + second) == sorted(whole) and abs(len(first) - len(second)) <= 1


@pytest.mark.slow
def test_what_several_processes_cannot_do_is_told(tmp_path):
    done = run(tmp_path, 2, negatives="hard")
    assert done.returncode != 0 and "negatives=hard trains in one process; 2 were started" in done.stderr
