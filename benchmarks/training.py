"""Training throughput compared with the DSSM trainer of torch-rechub: `python -m benchmarks.training`.

Both train the same towers (widths 128 and 64, embeddings of 32, Adam) on the same positives in turns, in this process
and on the same threads: torch-rechub with MatchTrainer.train_one_epoch and its own data loader, ours with
Trainer.advance. A batch has 4096 samples: 4096 positives with the other positives of the batch as negatives (in-batch
softmax), or 2048 positives with one negative each (pointwise binary cross-entropy). The ratios compare minimum times.
Further rows without a claim: pointwise with 256 negatives that all positives of a batch share; epochs of the first mode
with the rows in memory, and streamed from disk 20 MB at a time; the parts of one step of ours, each with the minimum
time that the measured FLOP/s and memory bandwidth of this machine allow.

Our trainer is also measured with `compile`, if there is a compiler and without `--quick`. With `--device cuda` both
train on the GPU, and ours in bfloat16 too.
"""

import contextlib
import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import alternate, arguments, finish, machine, progress
from benchmarks.positives import ITEMS, USERS, simulated
from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.data.pulled import Pulled
from two_tower.training.compiled import missing_compiler
from two_tower.training.network.encoders import fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Positives
from two_tower.training.streaming.source import InMemory, Streamed
from two_tower.training.train import choose_device
from two_tower.training.trainer import Trainer

BATCH, DIM, HIDDEN, WIDTH = 4096, 64, 128, 32
IN_BATCH, OWN = "in-batch softmax", "pointwise"
PEERS = (IN_BATCH, OWN)
MEGABYTES = 20  # of rows in memory while streaming


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--positives", type=int, default=200_000, help="Number of interactions.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="Device of both trainers.")
    args = parser.parse_args()
    machine_info = machine()
    size, seconds = (12_000, 0.1) if args.quick else (args.positives, 20.0 if args.device == "cpu" else 4.0)
    device = choose_device(args.device)
    rows, claims = measure(
        size, seconds, modes(device, compiled=not args.quick and not missing_compiler(device.type)), device
    )
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def modes(device: torch.device, compiled: bool) -> dict[str, TrainConfig]:
    shared = TrainConfig(
        dim=DIM, hidden=HIDDEN, feature_dim=WIDTH, dropout=0.0, temperature=1.0, device=device.type, batch_size=BATCH
    )
    half = replace(shared, batch_size=BATCH // 2, loss="pointwise")
    configs = {
        IN_BATCH: shared,
        OWN: replace(half, negatives="own", sampled_negatives=BATCH // 2, popularity_exponent=0),
        "pointwise, 256 shared": replace(half, negatives="uniform", sampled_negatives=256),
    }
    if compiled:
        configs[f"{IN_BATCH}, compiled"] = replace(shared, compile=True)
        if device.type == "cuda":
            configs[f"{IN_BATCH}, bfloat16, compiled"] = replace(shared, precision="bfloat16", compile=True)
    return configs


def measure(
    size: int, seconds: float, configs: dict[str, TrainConfig], device: torch.device
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Measure all modes on `size` interactions.

    A timed call is one step: so short that its minimum time is free of other load.
    """
    progress(f"{size:,} interactions")
    pulled = simulated(size)
    encoders = fit(pulled)
    trainers = {}
    for mode, config in configs.items():
        network = TwoTower(encoders, config)
        positives = Positives.of(pulled, encoders, network, config.shuffle_window, device)
        trainers[mode] = Trainer(network.to(device), positives, config)
    runs: dict[str, Callable[[], object]] = {}
    for mode, trainer in trainers.items():
        runs[f"ours, {mode}"] = _ours(trainer)
        if mode in PEERS:
            runs[f"torch-rechub, {mode}"] = _torch_rechub(positives, mode)
    progress(f"{len(positives):,} positives, {torch.get_num_threads()} threads; timing")
    durations = alternate(runs, seconds, least=2)
    least = {name: min(all_) for name, all_ in durations.items()}
    rows = [
        {
            "what": name,
            "samples_per_second": round(BATCH / least[name]),
            "ms_per_step": round(least[name] * 1e3, 2),
            "bound_ms": "",
            "calls": len(durations[name]),
        }
        for name in runs
    ]
    claims = {
        f"ratio_vs_torch_rechub_{short}": least[f"torch-rechub, {mode}"] / least[f"ours, {mode}"]
        for short, mode in (("in_batch", IN_BATCH), ("bce", OWN))
    }
    progress("epochs with rows in memory and streamed")
    rows += _epochs(pulled, seconds, configs[IN_BATCH], device)
    progress("the parts of a step")
    parts = _parts(trainers[IN_BATCH], 3 if seconds < 1 else 40)
    return rows + parts, claims | {
        "bound_share": sum(p["bound_ms"] for p in parts) / sum(p["ms_per_step"] for p in parts)
    }


def _epochs(pulled: Pulled, seconds: float, config: TrainConfig, device: torch.device) -> list[dict[str, Any]]:
    """Measure positives per second of whole epochs, and of the preparation that streaming does once."""
    with tempfile.TemporaryDirectory() as folder:
        pulled.write(Path(folder) / "pulled")
        streamed = Streamed(Parts(Path(folder) / "pulled"), Path(folder) / "scratch", MEGABYTES)
        encoders = streamed.fit()
        began, trainers = time.perf_counter(), dict[str, Trainer]()
        for name, data in (("rows streamed", streamed), ("rows in memory", InMemory(pulled))):
            network = TwoTower(encoders, config)
            source = data.positives(encoders, network, replace(config, stream_megabytes=MEGABYTES), device)
            trainers[name] = Trainer(network.to(device), source, config)
            if data is streamed:
                prepared = time.perf_counter() - began
        durations = alternate({name: _epoch(trainer) for name, trainer in trainers.items()}, seconds, least=3)
    length = len(source)
    least = {f"an epoch, {name}": min(all_) for name, all_ in durations.items()}
    return [
        {
            "what": name,
            "samples_per_second": round(length / spent),
            "ms_per_step": round(spent * 1e3 * BATCH / length, 2),
            "bound_ms": "",
            "calls": len(durations["rows streamed"]) if name in least else 1,
        }
        for name, spent in (least | {"written for streaming, once": prepared}).items()
    ]


def _epoch(trainer: Trainer) -> Callable[[], object]:
    def run() -> None:
        losses = [trainer.advance(rows) for rows in trainer.batches(1)]
        assert torch.stack(losses).isfinite().all()

    return run


def _ours(trainer: Trainer) -> Callable[[], object]:
    full, place = _full(trainer), 0

    def run() -> None:
        nonlocal place
        place += 1
        assert math.isfinite(float(trainer.advance(full[place % len(full)])))

    return run


def _full(trainer: Trainer) -> list[Tensor]:
    """List the full batches of an epoch; all batches if none is full."""
    batches = list(trainer.batches(1))
    return [rows for rows in batches if len(rows) == trainer.config.batch_size] or batches


def _torch_rechub(positives: Positives, mode: str) -> Callable[[], object]:
    """Return a call that trains an epoch of one batch with torch-rechub."""
    try:
        from torch_rechub.basic.features import SequenceFeature, SparseFeature
        from torch_rechub.models.matching import DSSM
        from torch_rechub.trainers import MatchTrainer
        from torch_rechub.utils.data import MatchDataGenerator
    except ImportError:
        sys.exit("torch-rechub is not installed. Install the extra `bench`: pip install 'two-tower[bench]'.")
    pointwise, random = mode == OWN, np.random.default_rng(0)
    rows = torch.from_numpy(random.integers(0, len(positives), BATCH)).to(positives.device)
    if pointwise:
        rows = rows[: len(rows) // 2].repeat(2)
    user, country, recent = (part.long().cpu().numpy() for part in positives.user_columns.take(rows))
    item, category = (part.long().cpu().numpy() for part in positives.item_columns.take(rows))
    label = np.ones(len(rows), dtype=np.float32)
    if pointwise:
        drawn = torch.from_numpy(random.integers(0, len(positives), len(rows) // 2)).to(positives.device)
        half = [part.long().cpu().numpy() for part in positives.item_columns.take(drawn)]
        item[len(drawn) :], category[len(drawn) :], label[len(drawn) :] = half[0], half[1], 0
    users = [
        SparseFeature("user", USERS + 1, WIDTH),
        SparseFeature("country", 41, WIDTH),
        SequenceFeature("recent", ITEMS + 1, WIDTH, pooling="mean", shared_with="item", padding_idx=0),
    ]
    items = [SparseFeature("item", ITEMS + 1, WIDTH), SparseFeature("category", 51, WIDTH)]
    tower = {"dims": [HIDDEN, DIM], "activation": "relu", "dropout": 0.0}
    x = {"user": user, "country": country, "recent": recent, "item": item, "category": category}
    loader = MatchDataGenerator(x, label).generate_dataloader(x, x, batch_size=BATCH, num_workers=0)[0]
    device = positives.device.type
    trainer = MatchTrainer(DSSM(users, items, tower, tower), mode=0, in_batch_neg=not pointwise, device=device)

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            assert math.isfinite(trainer.train_one_epoch(loader))

    return run


def _parts(trainer: Trainer, rounds: int) -> list[dict[str, Any]]:
    """Measure the minimum time of each part of a step, and compute its lower bound."""
    network, positives = trainer.network, trainer.positives
    durations: dict[str, list[float]] = {}
    flops: dict[str, float] = {}
    moved: dict[str, float] = {}
    batches = _full(trainer)
    network.train()
    for number in range(rounds):
        clock = _Clock(durations, positives.device)
        batch = positives.batch(batches[number % len(batches)])
        read = positives.user_columns.take(batch.rows)
        clock("gather")
        user = network.user.embed(read)
        clock("towers")
        candidates = trainer.negatives.candidates(batch, user, slice(0, len(batch)))
        parts = positives.item_columns.take(candidates.rows)
        clock("gather")
        item = network.item.embed(parts)
        clock("towers")
        cut = [user.detach().requires_grad_(), item.detach().requires_grad_()]
        loss = trainer.loss(*cut, candidates.target, candidates.log_weight, candidates.mask, batch.weight)
        loss.backward()
        clock("loss")
        torch.autograd.backward([user, item], [cut[0].grad, cut[1].grad])
        clock("towers")
        trainer.step += 1
        trainer.optimiser.step(trainer.step)
        trainer.average.update(trainer.step)
        clock("optimizer")
        clock.end()
        users, items = len(batch), len(candidates.rows)
        flops = {
            "loss": 6 * users * items * DIM,
            "towers": 6 * (users * _linear(network.user) + items * _linear(network.item)),
        }
        weights = sum(p.numel() for p in network.parameters())
        moved = {
            "gather": 8 * (_numbers(read) + _numbers(parts)),
            "towers": 4 * WIDTH * 3 * (users * read[-1].shape[1] + 2 * users + 2 * items),
            "loss": 4 * users * items * 4,  # scores and their gradient, each written and read once
            "optimizer": 4 * weights * (7 + 3),  # 4 reads: weight, gradient, 2 moments; 3 writes; the average: 3
        }
    speed, bandwidth = _flops(positives.device), _bandwidth(positives.device)
    progress(f"{speed / 1e9:.0f} GFLOP/s, {bandwidth / 1e9:.1f} GB/s; {items} different items in the last batch")
    return [
        {
            "what": f"part of a step: {name}",
            "samples_per_second": "",
            "ms_per_step": round(min(all_) * 1e3, 2),
            "bound_ms": round(max(flops.get(name, 0) / speed, moved[name] / bandwidth) * 1e3, 2),
            "calls": rounds,
        }
        for name, all_ in durations.items()
    ]


class _Clock:
    """Sum the time of each part within a step."""

    def __init__(self, durations: dict[str, list[float]], device: torch.device) -> None:
        self.durations, self.sums, self.device = durations, dict[str, float](), device
        _wait(device)
        self.last = time.perf_counter()

    def __call__(self, part: str) -> None:
        _wait(self.device)
        now = time.perf_counter()
        self.sums[part] = self.sums.get(part, 0.0) + now - self.last
        self.last = now

    def end(self) -> None:
        for part, seconds in self.sums.items():
            self.durations.setdefault(part, []).append(seconds)


def _linear(tower: nn.Module) -> int:
    return sum(m.weight.numel() for m in tower.modules() if isinstance(m, nn.Linear))


def _numbers(parts: list[Tensor]) -> int:
    return sum(part.numel() for part in parts)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _least(run: Callable[[], object], device: torch.device) -> float:
    """Return the minimum time of a call in seconds, including its work on the GPU."""

    def waited() -> None:
        run()
        _wait(device)

    return min(alternate({"": waited}, 1.0, least=30)[""])


def _flops(device: torch.device) -> float:
    """Measure FLOP/s of a float32 matrix product."""
    side = 512 if device.type == "cpu" else 8192
    a = torch.randn(side, side, device=device)
    return 2 * side**3 / _least(lambda: a @ a, device)


def _bandwidth(device: torch.device) -> float:
    """Measure bytes per second, read and written, of a copy larger than the caches."""
    a = torch.randn(16_000_000 if device.type == "cpu" else 512_000_000, device=device)
    b = torch.empty_like(a)
    return 8 * len(a) / _least(lambda: b.copy_(a), device)


if __name__ == "__main__":
    main()
