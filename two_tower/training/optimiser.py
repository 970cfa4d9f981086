"""AdamW, a lazy Adam for large embedding tables, the learning rate schedule, and the moving average."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from two_tower.config import TrainConfig
from two_tower.training.network.towers import TwoTower


class Optimiser:
    """AdamW for dense parameters; SparseAdam for sparse tables, which updates only the rows that a batch touched.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; Kingma and Ba, "Adam", ICLR 2015.
    """

    def __init__(self, network: TwoTower, config: TrainConfig, steps: int) -> None:
        """Create the optimiser.

        Args:
            network: The towers.
            config: Settings.
            steps: Number of steps of the whole run, at which the schedule ends.
        """
        self.config, self.steps = config, steps
        sparse, dense = split(network)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        ]
        if sparse:
            self.parts.append(torch.optim.SparseAdam(sparse, lr=config.learning_rate))

    def step(self, number: int) -> float:
        """Update the weights in step `number` of the run, from 1 on; return the learning rate."""
        rate = self.config.learning_rate * factor(number, self.steps, self.config)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad()
        return rate

    def state(self) -> dict[str, Tensor]:
        """Return the state as tensors by name; SparseAdam's step count, a Python integer, becomes an int64."""
        return {
            f"{number}.{parameter}.{name}": torch.as_tensor(value)
            for number, part in enumerate(self.parts)
            for parameter, values in part.state_dict()["state"].items()
            for name, value in values.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Restore what `state()` returned."""
        for number, part in enumerate(self.parts):
            values: dict[int, dict[str, Tensor | int]] = {}
            for key, value in state.items():
                owner, parameter, name = key.split(".")
                if int(owner) == number:
                    is_count = value.dtype == torch.int64
                    values.setdefault(int(parameter), {})[name] = int(value) if is_count else value
            part.load_state_dict({"state": values, "param_groups": part.state_dict()["param_groups"]})


def factor(step: int, steps: int, config: TrainConfig) -> float:
    """Return the factor of the learning rate at a step, from 1 on: rising over `warmup` steps, then by the schedule."""
    if step <= config.warmup:
        return step / (config.warmup + 1)
    left = 1 - (step - config.warmup - 1) / max(steps - config.warmup, 1)
    match config.schedule:
        case "cosine":
            return (1 - math.cos(math.pi * left)) / 2
        case "linear":
            return left
        case _:
            return 1.0


def split(network: TwoTower) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the weights of the sparse tables, and all other parameters."""
    tables = {m.weight for m in network.modules() if isinstance(m, nn.Embedding) and m.sparse}
    return [p for p in network.parameters() if p in tables], [p for p in network.parameters() if p not in tables]


class Average:
    """An exponential moving average of the weights, with less noise of the last batches.

    Sparse tables are not averaged, because that would touch all their rows in each step: `network` shares them.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control 1992.
    """

    def __init__(self, network: TwoTower, keep: float) -> None:
        self.keep = keep
        sparse, self.source = split(network)
        memo = {id(p): p for p in sparse}
        self.network = copy.deepcopy(network, memo)
        self.dense = split(self.network)[1]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after `step` steps; the first steps keep less, as there is little to average."""
        keep = min(self.keep, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(keep)(  # type: ignore[no-untyped-call]
            self.dense, self.source, torch.tensor(step)
        )
