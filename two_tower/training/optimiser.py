"""How the weights move: AdamW, a lazy Adam for large tables, the schedule, and the moving average."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from two_tower.config import TrainConfig
from two_tower.training.network.towers import TwoTower


class Optimiser:
    """One step of all parameters: dense ones by AdamW, sparse tables only in the rows that a batch touched.

    Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019; Kingma and Ba, "Adam", ICLR 2015.
    """

    def __init__(self, network: TwoTower, config: TrainConfig, steps: int) -> None:
        """steps: of the whole run; the schedule ends there."""
        self.config, self.steps = config, steps
        sparse, dense = split(network)
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(dense, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        ]
        if sparse:
            self.parts.append(torch.optim.SparseAdam(sparse, lr=config.learning_rate))

    def step(self, number: int) -> float:
        """Step `number` of the run, from 1 on; returns the learning rate."""
        rate = self.config.learning_rate * factor(number, self.steps, self.config)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
            part.zero_grad()
        return rate

    def state(self) -> dict[str, Tensor]:
        """The state as tensors by name; SparseAdam's count of steps, a whole number, as an int64."""
        return {
            f"{number}.{parameter}.{name}": torch.as_tensor(value)
            for number, part in enumerate(self.parts)
            for parameter, values in part.state_dict()["state"].items()
            for name, value in values.items()
        }

    def load(self, state: dict[str, Tensor]) -> None:
        for number, part in enumerate(self.parts):
            found: dict[int, dict[str, Tensor | int]] = {}
            for key, value in state.items():
                of, parameter, name = key.split(".")
                if int(of) == number:
                    whole = value.dtype == torch.int64
                    found.setdefault(int(parameter), {})[name] = int(value) if whole else value
            part.load_state_dict({"state": found, "param_groups": part.state_dict()["param_groups"]})


def factor(step: int, steps: int, config: TrainConfig) -> float:
    """The share of the learning rate at a step from 1 on: rising over `warmup` steps, then by the schedule."""
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
    """The weights of the sparse tables, and all others."""
    tables = {m.weight for m in network.modules() if isinstance(m, nn.Embedding) and m.sparse}
    return [p for p in network.parameters() if p in tables], [p for p in network.parameters() if p not in tables]


class Average:
    """An exponential moving average of the weights, which carries less of the last batches' noise.

    Sparse tables are not averaged, for that would touch all their rows at each step: `network` shares them.

    Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", SIAM J. Control 1992.
    """

    def __init__(self, network: TwoTower, keep: float) -> None:
        self.keep = keep
        sparse, self.of = split(network)
        memo = {id(p): p for p in sparse}
        self.network = copy.deepcopy(network, memo)
        self.dense = split(self.network)[1]

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move towards the weights after `step` steps; less is kept at first, when there is little to average."""
        keep = min(self.keep, (1 + step) / (10 + step))
        get_ema_multi_avg_fn(keep)(  # type: ignore[no-untyped-call]
            self.dense, self.of, torch.tensor(step)
        )
