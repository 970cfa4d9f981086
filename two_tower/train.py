"""Fit the encoders, train both towers, keep the weights of the best epoch."""

import copy
import math
import time
from pathlib import Path
from typing import Any

import torch

from two_tower import model
from two_tower.batches import Positives
from two_tower.config import TrainConfig
from two_tower.encoders import fit
from two_tower.errors import InputError
from two_tower.losses import joint_loss
from two_tower.pulled import Pulled
from two_tower.towers import TwoTower
from two_tower.validation import Validation


def train(pulled: Pulled, config: TrainConfig, folder: Path) -> dict[str, Any]:
    """Train on the training rows, stop by recall@20 on the validation rows, and write the model to `folder`.

    Returns `embedding_space`, `best` (the metrics of the epoch that was kept) and `history` (those of every epoch:
    epoch, loss, recall@20, positives_per_second). The same seed gives the same weights on one machine's CPU. Raises
    InputError for a device that is not there, and, naming the step, where the loss is no finite number.
    """
    device = choose_device(config.device)
    encoders = fit(pulled)
    positives = Positives.of(pulled, encoders, config.shuffle_window, device)
    validation = Validation.of(pulled, encoders, device)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = TwoTower(encoders, config).to(device)
        history = _fit(network, positives, validation, config)
    space = model.save(folder, network, encoders, pulled.contract, config, history)
    best = max(history, key=lambda epoch: epoch["recall@20"])
    return {"embedding_space": space, "best": best, "history": history}


def choose_device(name: str) -> torch.device:
    """The device that was asked for; auto takes CUDA where there is any. Raises InputError where it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch finds no CUDA device here. Give device=cpu or device=auto.")
    return torch.device(name)


def _fit(
    network: TwoTower, positives: Positives, validation: Validation, config: TrainConfig
) -> list[dict[str, float]]:
    """Train in place until validation recall has not risen for `patience` epochs; leave the best epoch's weights.

    What is measured and kept is an exponential moving average of the weights, which carries less of the last batches'
    noise (Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control 1992).
    """
    average = copy.deepcopy(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    random = torch.Generator().manual_seed(config.seed)
    history: list[dict[str, float]] = []
    best, best_epoch, weights = -1.0, 0, network.state_dict()
    for epoch in range(1, config.epochs + 1):
        started = time.perf_counter()
        loss = _epoch(network, average, positives, optimiser, random, config, epoch)
        trained = time.perf_counter() - started
        recall = validation.recall(average, config.similarity)
        seconds = time.perf_counter() - started
        rate = len(positives) / trained
        history.append({"epoch": epoch, "loss": loss, "recall@20": recall, "positives_per_second": rate})
        print(  # noqa: T201 – a step's log is its standard output
            f"epoch {epoch}/{config.epochs}  loss {loss:.4f}  validation recall@20 {recall:.4f}  "
            f"{rate:,.0f} positives/s  at most {seconds * (config.epochs - epoch):.0f} s left",
            flush=True,
        )
        if recall > best:
            best, best_epoch, weights = recall, epoch, copy.deepcopy(average.state_dict())
        elif epoch - best_epoch >= config.patience:
            break
    network.load_state_dict(weights)
    network.eval()
    return history


def _epoch(
    network: TwoTower,
    average: TwoTower,
    positives: Positives,
    optimiser: torch.optim.Optimizer,
    random: torch.Generator,
    config: TrainConfig,
    epoch: int,
) -> float:
    """One pass over the positives; the mean loss of its batches."""
    network.train()
    losses = []
    batches = positives.epoch(config.batch_size, random)
    for rows in batches:
        batch = positives.batch(rows)
        user, item = network.user(batch.user), network.item(batch.item)
        loss = joint_loss(user, item, batch.log_q, batch.mask, batch.weight, config)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.detach())
        steps = (epoch - 1) * len(batches) + len(losses)
        _follow(average, network, keep=min(config.averaging, (1 + steps) / (10 + steps)))
    values = torch.stack(losses).tolist()
    for step, value in enumerate(values, start=1):
        if not math.isfinite(value):
            raise InputError(
                f"the loss is {value} at step {step} of epoch {epoch}. Lower learning_rate={config.learning_rate}."
            )
    return sum(values) / len(values)


@torch.no_grad()
def _follow(average: TwoTower, network: TwoTower, keep: float) -> None:
    """Move the averaged weights towards the network's; `keep` is small at first, when there is little to average."""
    for old, new in zip(average.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - keep)
