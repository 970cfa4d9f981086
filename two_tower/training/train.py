"""Fit the encoders, train both towers, and keep the weights of the best epoch."""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.losses.contract import check_loss
from two_tower.plugins import is_reference
from two_tower.training.callbacks import Callback, ProgressLog, TrainStart, call, check_callback, load_callbacks
from two_tower.training.checkpoint import Checkpoints
from two_tower.training.distributed import ProcessGroup, process_group
from two_tower.training.network import model
from two_tower.training.network.contract import check_layer
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.contract import check_negatives
from two_tower.training.streaming.source import Data, opened
from two_tower.training.tracking import Tracking
from two_tower.training.trainer import Trainer
from two_tower.training.validation import Validation

CHECK_STEPS = 100  # steps between two checks of the loss, each of which waits for the device
TENSORBOARD = "tensorboard"


class DivergedError(InputError):
    """The loss is NaN or infinite."""


def train(
    pulled: Pulled | Path, config: TrainConfig, folder: Path, callbacks: Sequence[Callback] | None = None
) -> dict[str, Any]:
    """Train both towers on the training rows, with early stopping by recall@20 on the validation rows.

    If `config.checkpoints` is set, an interrupted run of the same settings on the same data resumes from its last
    checkpoint; on a CPU it ends with the same weights as an uninterrupted run. The same seed gives the same weights on
    one machine's CPU. Under torchrun, all processes train one model on batches of `batch_size` in total, and the first
    of them writes it.

    Args:
        pulled: Tables in memory, or the folder of a pull; for a folder, `config.stream` says whether its rows are read
            into memory or stay on disk.
        config: Settings.
        folder: Output folder of the model.
        callbacks: Called in this order, before those of the setting `callbacks`. Default: `ProgressLog`.

    Returns:
        `embedding_space`; `best`, the metrics of the epoch whose weights are kept; and `history`, the metrics of every
        epoch: epoch, loss, recall@20, positives_per_second.

    Raises:
        InputError: The device does not exist, or a plug-in cannot be imported or breaks its protocol. Nothing is
            written.
        DivergedError: The loss is NaN or infinite; the message names the step.
    """
    callbacks = [ProgressLog()] if callbacks is None else list(callbacks)
    for callback in callbacks:
        check_callback(callback)
    check_plugins(config)
    callbacks += load_callbacks(config.callbacks)
    device = choose_device(config.device)
    with process_group(device) as group, opened(pulled, config, device, group) as data:
        return _train(data, replace(config, stream=data.stream), folder, device, group, callbacks)


def _train(
    data: Data, config: TrainConfig, folder: Path, device: torch.device, group: ProcessGroup, callbacks: list[Callback]
) -> dict[str, Any]:
    encoders = data.fit()
    validation = data.validation(encoders, device)
    learned = replace(config, checkpoints="", mlflow="", callbacks="")  # without what does not affect the weights
    checkpoints = Checkpoints(config.checkpoints, data.key(learned)) if config.checkpoints else None
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = TwoTower(encoders, config)
        positives = data.positives(encoders, network, config, device)
        trainer = Trainer(network.to(device), positives, config, group)
        with Tracking(folder / TENSORBOARD, config) if group.is_first else nullcontext() as tracking:
            run = Run(trainer, validation, tracking, checkpoints, callbacks)
            run.resume()
            run.finish()
    best = max(run.history, key=lambda epoch: epoch["recall@20"])
    space = ""
    if group.is_first:
        space = model.save(folder, network.eval(), encoders, data.contract, learned, run.history)
        if checkpoints:
            checkpoints.clear()
    result = {"embedding_space": space, "best": best, "history": run.history}
    call(callbacks, "on_train_end", result)
    return result


def check_plugins(config: TrainConfig) -> None:
    """Check that the plug-ins of the settings can be imported and follow their protocols, callbacks included.

    Raises:
        InputError: A plug-in cannot be imported or breaks its protocol.
    """
    load_callbacks(config.callbacks)
    if is_reference(config.loss):
        check_loss(config.loss, config)
    if is_reference(config.negatives):
        check_negatives(config.negatives)
    if is_reference(config.history):
        check_layer(config.history)


def choose_device(name: str) -> torch.device:
    """Return the torch device of a setting; `auto` is CUDA if there is a CUDA device.

    Raises:
        InputError: `cuda` without a CUDA device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch finds no CUDA device. Set device=cpu or device=auto.")
    return torch.device(name)


@dataclass
class Run:
    """A training run.

    Attributes:
        losses: Losses of the steps of the current epoch.
        history: Metrics of each epoch.
        best: Averaged weights of the best epoch, by name.
    """

    trainer: Trainer
    validation: Validation
    tracking: Tracking | None
    checkpoints: Checkpoints | None
    callbacks: list[Callback]
    losses: list[float] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)

    def resume(self) -> None:
        """Load the last checkpoint, if there is one, and begin."""
        checkpoint = self.checkpoints.newest() if self.checkpoints else None
        step = checkpoint[1]["step"] if checkpoint else 0
        group, config = self.trainer.group, self.trainer.config
        if group.differs(step):
            raise InputError(
                f"checkpoints={config.checkpoints} is not the same place for all processes: the newest checkpoint here "
                f"is of step {step}. Use a folder or an address that all of them reach."
            )
        if checkpoint:
            tensors, progress = checkpoint
            self.best = {key.removeprefix("best/"): v for key, v in tensors.items() if key.startswith("best/")}
            self.losses, self.history = progress["losses"], progress["history"]
            self.trainer.load(tensors, step)
        for metrics in self.history:
            self._track(metrics)
        call(self.callbacks, "on_train_begin", TrainStart(config, tuple(self.history), step, group.is_first))

    def finish(self) -> None:
        """Train until validation recall has not improved for `patience` epochs; load the best epoch's weights."""
        while len(self.history) < self.trainer.config.epochs and not self._patience_ended():
            began, resumed = time.perf_counter(), len(self.losses)
            self._epoch(len(self.history) + 1)
            seconds, steps = time.perf_counter() - began, len(self.losses) - resumed
            self._measure(seconds, steps / len(self.losses))
            call(self.callbacks, "on_epoch_end", self.history[-1])
            self._save()
        with torch.no_grad():
            for name, parameter in self.trainer.network.named_parameters():
                parameter.copy_(self.best[name])

    def _epoch(self, epoch: int) -> None:
        config = self.trainer.config
        saved, unchecked = time.monotonic(), list[Tensor]()
        for rows in self.trainer.batches(epoch, len(self.losses)):
            unchecked.append(self.trainer.advance(rows))
            is_due = self.checkpoints is not None and time.monotonic() - saved > config.checkpoint_seconds
            if is_due or len(unchecked) == CHECK_STEPS:
                self._check(unchecked)
                unchecked = []
            if is_due:
                self._save()
                saved = time.monotonic()
        self._check(unchecked)

    def _check(self, losses: list[Tensor]) -> None:
        """Record the losses of the last steps; raise DivergedError if one is NaN or infinite."""
        config, epoch = self.trainer.config, len(self.history) + 1
        if not losses:
            return
        for value in torch.stack(losses).tolist():
            if not math.isfinite(value):
                kept = " The last checkpoint before it is kept." if self.checkpoints else ""
                raise DivergedError(
                    f"The loss is {value} at step {len(self.losses) + 1} of epoch {epoch}, not a finite number. "
                    f"Lower learning_rate={config.learning_rate}.{kept}"
                )
            self.losses.append(value)
        if self.tracking:
            self.tracking.scalars(self.trainer.step, {"step/loss": self.losses[-1]})

    def _measure(self, seconds: float, share: float) -> None:
        """Validate at the end of an epoch. `seconds` is the training time of `share` of the epoch."""
        recall = self.validation.recall(self.trainer.average.network, self.trainer.config.similarity)
        recall = self.trainer.group.broadcast(recall)
        metrics = {
            "epoch": len(self.history) + 1,
            "loss": sum(self.losses) / len(self.losses),
            "recall@20": recall,
            "positives_per_second": len(self.trainer.source) * share / seconds,
        }
        if recall > max((epoch["recall@20"] for epoch in self.history), default=-1.0):
            self.best = self.trainer.weights()
        self.history.append(metrics)
        self.losses = []
        self._track(metrics)

    def _track(self, metrics: dict[str, float]) -> None:
        if self.tracking:
            values = {f"epoch/{k}": v for k, v in metrics.items() if k != "epoch"}
            self.tracking.scalars(int(metrics["epoch"]), values)

    def _patience_ended(self) -> bool:
        recalls = [epoch["recall@20"] for epoch in self.history]
        return bool(recalls) and len(recalls) - 1 - recalls.index(max(recalls)) >= self.trainer.config.patience

    def _save(self) -> None:
        if self.checkpoints and self.trainer.group.is_first:
            tensors = self.trainer.state() | {f"best/{name}": value for name, value in self.best.items()}
            progress = {"step": self.trainer.step, "losses": self.losses, "history": self.history}
            self.checkpoints.save(self.trainer.step, tensors, progress)
