"""Training killed at random moments, and run again: `python -m benchmarks.resume [--kills N]`.

One run goes from beginning to end. Others, of the same settings on the same data, are killed by SIGKILL at a random
moment after they have begun, whatever they are doing then, and started again until they end; a new one begins until N
kills are done. A kill counts as resumed when the next process that lives to say so goes on from the newest checkpoint
that was left, or begins anew where none was. Every run must leave the same weights as the unbroken one, bit for bit.
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
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    kills = 2 if given.quick else given.kills
    described = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-resume-") as folder:
        rows, claims = measure(kills, INTERACTIONS, random.Random(given.seed), Path(folder))
    finish(rows, claims, described | {"load_after": round(os.getloadavg()[0], 2)}, given.json)


def measure(kills: int, size: int, moments: random.Random, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """size: interactions."""
    said, killed, seconds = _run(size, CONFIG, folder / "whole", None)
    assert not killed, said
    expected = (folder / "whole/model.safetensors").read_bytes()
    progress(f"unbroken: {seconds:.1f} s")
    kept = replace(CONFIG, checkpoints=str(folder / "checkpoints"))
    rows: list[dict[str, Any]] = []
    resumed, ended, equal, left, pending = 0, 0, True, 0, 0
    while len(rows) < kills or killed:
        moment = moments.uniform(0.0, 1.0) * seconds if len(rows) < kills else None
        said, was_killed, _ = _run(size, kept, folder / "broken", moment)
        found = RESUMING.search(said)
        if found or not left or not was_killed:
            resumed += pending * (int(found[1].replace(",", "") if found else 0) == left)
            pending = 0
        killed, left = was_killed, _newest(folder / "checkpoints")
        if killed:
            pending += 1
            rows.append({"kill": len(rows) + 1, "after_seconds": round(moment or 0, 2), "checkpoint_of_step": left})
            progress(f"kill {len(rows)} of {kills}: the newest checkpoint is that of step {left}")
        else:
            ended += 1
            equal &= (folder / "broken/model.safetensors").read_bytes() == expected
            (folder / "broken/model.safetensors").unlink()
    claims = {"kills": len(rows), "resumed": resumed, "equal_weights": equal, "runs_ended": ended}
    return rows, claims


def _run(size: int, config: TrainConfig, folder: Path, seconds: float | None) -> tuple[str, bool, float]:
    """What a process said, whether it was killed, `seconds` after it had begun to train, and how long it trained."""
    command = [sys.executable, "-c", CHILD, str(size), config.to_json(), str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    began, timer = time.perf_counter(), threading.Timer(seconds or 0, process.kill)
    if seconds is not None:
        timer.start()
    said = process.communicate()[0]
    timer.cancel()
    assert process.returncode in (0, -signal.SIGKILL), said[-2000:]
    return said, process.returncode != 0, time.perf_counter() - began


def _newest(folder: Path) -> int:
    """The step of the newest whole checkpoint; 0 where there is none."""
    return max((int(path.parent.name) for path in folder.glob("*/[0-9]*/progress.json")), default=0)


if __name__ == "__main__":
    main()
