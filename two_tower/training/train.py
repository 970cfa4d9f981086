"""Fit the encoders, train both towers, keep the weights of the best epoch."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.training.checkpoint import Checkpoints
from two_tower.training.distributed import Ranks, ranks
from two_tower.training.network import model
from two_tower.training.network.towers import TwoTower
from two_tower.training.streaming.source import Data, opened
from two_tower.training.tracking import Tracking
from two_tower.training.trainer import Trainer
from two_tower.training.validation import Validation

CHECK = 100  # steps between two looks at the loss, each of which waits for the device
TENSORBOARD = "tensorboard"

Watch = Callable[[Mapping[str, float]], None]


class DivergedError(InputError):
    """The loss is no finite number."""


def train(pulled: Pulled | Path, config: TrainConfig, folder: Path, watch: Watch = lambda _: None) -> dict[str, Any]:
    """Train on the training rows, stop by recall@20 on the validation rows, and write the model to `folder`.

    A run of the same settings on the same data that was broken off goes on from its last checkpoint, where
    `config.checkpoints` names a place for them, and on a CPU ends with the same weights as an unbroken one.

    pulled: tables in memory, or the folder that they were pulled to; of a folder, `config.stream` says whether its rows
        are held in memory or stay on disk.
    watch: given the metrics of each epoch as it ends, those before a checkpoint as well; what it raises ends the run.

    Returns `embedding_space`, `best` (the metrics of the epoch that was kept) and `history` (those of every epoch:
    epoch, loss, recall@20, positives_per_second). The same seed gives the same weights on one machine's CPU. Raises
    InputError for a device that is not there, and DivergedError, naming the step, where the loss is no finite number.

    Under torchrun all processes train one model on batches of `batch_size` in all, and the first of them writes it.
    """
    device = choose_device(config.device)
    with ranks(device) as among, opened(pulled, config, device, among) as data:
        return _train(data, replace(config, stream=data.stream), folder, device, among, watch)


def _train(
    data: Data, config: TrainConfig, folder: Path, device: torch.device, among: Ranks, watch: Watch
) -> dict[str, Any]:
    encoders = data.fit()
    validation = data.validation(encoders, device)
    learned = replace(config, checkpoints="", mlflow="")  # without what names places, and teaches nothing
    kept = Checkpoints(config.checkpoints, data.key(learned)) if config.checkpoints else None
    with torch.random.fork_rng(), Tracking(folder / TENSORBOARD, config) if among.first else nullcontext() as tracking:
        torch.manual_seed(config.seed)
        network = TwoTower(encoders, config)
        positives = data.positives(encoders, network, config, device)
        run = Run(Trainer(network.to(device), positives, config, among), validation, tracking, kept, watch)
        run.resume()
        run.finish()
    best = max(run.history, key=lambda epoch: epoch["recall@20"])
    space = ""
    if among.first:
        space = model.save(folder, network.eval(), encoders, data.contract, learned, run.history)
        if kept:
            kept.clear()
    return {"embedding_space": space, "best": best, "history": run.history}


def choose_device(name: str) -> torch.device:
    """The device that was asked for; auto takes CUDA where there is any. Raises InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch finds no CUDA device here. Give device=cpu or device=auto.")
    return torch.device(name)


@dataclass
class Run:
    """A run between its beginning and its end, from one checkpoint to the next.

    losses: of the steps of the present epoch. history: what was measured after each epoch. best: the averaged weights
    of the best epoch, by name.
    """

    trainer: Trainer
    validation: Validation
    tracking: Tracking | None
    checkpoints: Checkpoints | None
    watch: Watch
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def resume(self) -> None:
        """Take up the last checkpoint, if there is one."""
        found = self.checkpoints.newest() if self.checkpoints else None
        step = found[1]["step"] if found else 0
        if self.trainer.ranks.differ(step):
            raise InputError(
                f"checkpoints={self.trainer.config.checkpoints} is not one place for all processes: here the newest is "
                f"of step {step}. Give a folder or an address that all of them reach."
            )
        if not found:
            return
        tensors, progress = found
        self.best = {key.removeprefix("best/"): v for key, v in tensors.items() if key.startswith("best/")}
        self.losses, self.history = progress["losses"], progress["history"]
        self.trainer.load(tensors, progress["step"])
        for measured in self.history:
            self._track(measured)
            self.watch(measured)
        self._say(f"going on after step {self.trainer.step:,}, in epoch {len(self.history) + 1}")

    def finish(self) -> None:
        """Train until validation recall has not risen for `patience` epochs; leave the best epoch's weights."""
        config = self.trainer.config
        while len(self.history) < config.epochs and not self._patience_ended():
            began, before = time.perf_counter(), len(self.losses)
            self._epoch(len(self.history) + 1)
            trained, made = time.perf_counter() - began, len(self.losses) - before
            self._measure(trained, made / len(self.losses))
            seconds = time.perf_counter() - began
            self._told(seconds)
            self.watch(self.history[-1])
            self._save()
        with torch.no_grad():
            for name, parameter in self.trainer.network.named_parameters():
                parameter.copy_(self.best[name])

    def _epoch(self, epoch: int) -> None:
        config = self.trainer.config
        saved, fresh = time.monotonic(), list[Tensor]()
        for rows in self.trainer.batches(epoch, len(self.losses)):
            fresh.append(self.trainer.advance(rows))
            late = self.checkpoints is not None and time.monotonic() - saved > config.checkpoint_seconds
            if late or len(fresh) == CHECK:
                fresh = self._checked(fresh)
            if late:
                self._save()
                saved = time.monotonic()
        self._checked(fresh)

    def _checked(self, fresh: list[Tensor]) -> list[Tensor]:
        """Note the losses of the last steps, unless one of them is no finite number; what is left to check: none."""
        config, epoch = self.trainer.config, len(self.history) + 1
        if not fresh:
            return []
        for value in torch.stack(fresh).tolist():
            if not math.isfinite(value):
                held = " The last good checkpoint is kept." if self.checkpoints else ""
                raise DivergedError(
                    f"the loss is {value} at step {len(self.losses) + 1} of epoch {epoch}. "
                    f"Lower learning_rate={config.learning_rate}.{held}"
                )
            self.losses.append(value)
        if self.tracking:
            self.tracking.scalars(self.trainer.step, {"step/loss": self.losses[-1]})
        return []

    def _measure(self, seconds: float, share: float) -> None:
        """End an epoch, a share of which was trained in so many seconds."""
        recall = self.validation.recall(self.trainer.average.network, self.trainer.config.similarity)
        recall = self.trainer.ranks.told(recall)
        measured = {
            "epoch": len(self.history) + 1,
            "loss": sum(self.losses) / len(self.losses),
            "recall@20": recall,
            "positives_per_second": len(self.trainer.source) * share / seconds,
        }
        if recall > max((epoch["recall@20"] for epoch in self.history), default=-1.0):
            self.best = self.trainer.weights()
        self.history.append(measured)
        self.losses = []
        self._track(measured)

    def _track(self, measured: dict[str, float]) -> None:
        if self.tracking:
            figures = {f"epoch/{k}": v for k, v in measured.items() if k != "epoch"}
            self.tracking.scalars(int(measured["epoch"]), figures)

    def _told(self, seconds: float) -> None:
        epochs, last = self.trainer.config.epochs, self.history[-1]
        self._say(
            f"epoch {len(self.history)}/{epochs}  loss {last['loss']:.4f}  validation recall@20 {last['recall@20']:.4f}"
            f"  {last['positives_per_second']:,.0f} positives/s  at most {seconds * (epochs - len(self.history)):.0f} s"
            " left"
        )

    def _patience_ended(self) -> bool:
        recalls = [epoch["recall@20"] for epoch in self.history]
        return bool(recalls) and len(recalls) - 1 - recalls.index(max(recalls)) >= self.trainer.config.patience

    def _save(self) -> None:
        if self.checkpoints and self.trainer.ranks.first:
            tensors = self.trainer.state() | {f"best/{name}": value for name, value in self.best.items()}
            progress = {"step": self.trainer.step, "losses": self.losses, "history": self.history}
            self.checkpoints.save(self.trainer.step, tensors, progress)

    def _say(self, text: str) -> None:
        if self.trainer.ranks.first:
            print(text, flush=True)  # noqa: T201 - a step's log is its standard output
