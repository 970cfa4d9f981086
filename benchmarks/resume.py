"""Training that is killed at random times and restarted: `python -m benchmarks.resume [--kills N]`.

One run is not interrupted. The other runs have the same settings and data; each is killed with SIGKILL at a random time
after its start, and restarted until it finishes. New runs start until N kills are done. A kill counts as resumed if the
next process that lives long enough to report it resumes from the newest checkpoint, or starts over if there is no
checkpoint. Each run must end with the same weights as the uninterrupted run, bit for bit.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.harness import arguments, finish, machine, progress
from two_tower.config import TrainConfig

INTERACTIONS = 8_000  # six epochs of 28 steps, and a checkpoint every few steps
RESUMING = re.compile(r"resuming after step ([\d,]+)")
CONFIG = TrainConfig(
    epochs=6, patience=6, batch_size=256, negatives="queue", sampled_negatives=1024, checkpoint_seconds=0.1
)
CHILD = """
import sys
from pathlib import Path
from benchmarks.positives import simulated
from two_tower.config import TrainConfig
from two_tower.training.train import train
pulled = simulated(int(sys.argv[1]))
print("ready", flush=True)
train(pulled, TrainConfig.from_json(sys.argv[2]), Path(sys.argv[3]))
"""


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="Number of kills.")
    parser.add_argument("--seed", type=int, default=0, help="Random seed of the kill times.")
    args = parser.parse_args()
    kills = 2 if args.quick else args.kills
    machine_info = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-resume-") as folder:
        rows, claims = measure(kills, INTERACTIONS, random.Random(args.seed), Path(folder))
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def measure(kills: int, size: int, moments: random.Random, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """size: interactions."""
    output, killed, seconds = _run(size, CONFIG, folder / "uninterrupted", None)
    assert not killed, output
    expected = (folder / "uninterrupted/model.safetensors").read_bytes()
    progress(f"uninterrupted: {seconds:.1f} s")
    resumable = replace(CONFIG, checkpoints=str(folder / "checkpoints"))
    rows: list[dict[str, Any]] = []
    resumed, ended, equal, checkpoint, pending = 0, 0, True, 0, 0
    while len(rows) < kills or killed:
        moment = moments.uniform(0.0, 1.0) * seconds if len(rows) < kills else None
        output, was_killed, _ = _run(size, resumable, folder / "killed", moment)
        match = RESUMING.search(output)
        if match or not checkpoint or not was_killed:
            resumed += pending * (int(match[1].replace(",", "") if match else 0) == checkpoint)
            pending = 0
        killed, checkpoint = was_killed, _newest(folder / "checkpoints")
        if killed:
            pending += 1
            rows.append(
                {"kill": len(rows) + 1, "after_seconds": round(moment or 0, 2), "checkpoint_of_step": checkpoint}
            )
            progress(f"kill {len(rows)} of {kills}: the newest checkpoint is of step {checkpoint}")
        else:
            ended += 1
            equal &= (folder / "killed/model.safetensors").read_bytes() == expected
            (folder / "killed/model.safetensors").unlink()
    claims = {"kills": len(rows), "resumed": resumed, "equal_weights": equal, "runs_ended": ended}
    return rows, claims


def _run(size: int, config: TrainConfig, folder: Path, seconds: float | None) -> tuple[str, bool, float]:
    """Run one training process, and kill it `seconds` after training began; returns output, killed, and duration."""
    command = [sys.executable, "-c", CHILD, str(size), config.to_json(), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    began, timer = time.perf_counter(), threading.Timer(seconds or 0, process.kill)
    if seconds is not None:
        timer.start()
    output = process.communicate()[0]
    timer.cancel()
    assert process.returncode in (0, -signal.SIGKILL), output[-2000:]
    return output, process.returncode != 0, time.perf_counter() - began


def _newest(folder: Path) -> int:
    """Return the step of the newest complete checkpoint; 0 if there is none."""
    return max((int(path.parent.name) for path in folder.glob("*/[0-9]*/progress.json")), default=0)


if __name__ == "__main__":
    main()
