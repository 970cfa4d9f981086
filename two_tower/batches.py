"""The training positives as columns on the device, and how batches are drawn from them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from two_tower.encoders import Encoders, prepare_table
from two_tower.inputs import Array
from two_tower.pulled import WEIGHT, Pulled, Split
from two_tower.seen import Interactions

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Positives and what the loss must know of them.

    user, item: the towers' inputs; row i of both is positive i. log_q: [batch]. weight: [batch].
    mask: [batch, batch], True where item j is no negative of user i: the positive itself; the same item as another's
        positive (an accidental hit); an item that the user had taken before, which is never ranked; the user's other
        positives, which are in the batch because of the user and so were not drawn as `log_q` says.
    """

    user: Inputs
    item: Inputs
    log_q: Tensor
    mask: Tensor
    weight: Tensor


@dataclass(frozen=True)
class Positives:
    """All training positives, ascending in time; every tensor and array has one row a positive.

    events: their rows of `interactions`. log_q: the logarithm of each item's share of the positives of its
    time, which is how likely it is to be another positive's in-batch negative.
    """

    user: Inputs
    item: Inputs
    interactions: Interactions
    events: Array
    log_q: Tensor
    weight: Tensor
    window: int

    @classmethod
    def of(cls, pulled: Pulled, encoders: Encoders, window: int, device: torch.device) -> "Positives":
        """The first interaction of each user with each item in the training rows, for only new items are retrieved.

        window: how many positives a batch's are near to in time.
        """
        interactions = Interactions.of(pulled)
        rows = pulled.rows(Split.TRAIN)
        weight = _weights(pulled)[rows]
        kept = ~interactions.repeated[rows] & (weight > 0)
        rows, weight = rows[kept], weight[kept]
        seconds = pulled.seconds[rows]
        item = interactions.item[rows]
        return cls(
            _to(prepare_table(encoders, "user", pulled.user.take(rows), seconds), device),
            _to(prepare_table(encoders, "item", pulled.item.take(rows), seconds), device),
            interactions,
            rows,
            torch.tensor(log_q(item, window), device=device),
            torch.tensor(weight, device=device),
            window,
        )

    def __len__(self) -> int:
        return len(self.weight)

    def epoch(self, size: int, random: torch.Generator) -> list[Tensor]:
        """Row numbers of the batches of one epoch, in random order, each drawn from one stretch of time.

        In-batch negatives then are items as they were at about that time, as they are when a catalogue is ranked.
        """
        places = torch.arange(len(self)) + torch.rand(len(self), generator=random) * self.window
        batches = [b for b in torch.split(places.argsort(), size) if len(b) > 1]  # one alone has no negative
        return [batches[number] for number in torch.randperm(len(batches), generator=random).tolist()]

    def batch(self, rows: Tensor) -> Batch:
        device = self.weight.device
        mask = torch.from_numpy(self._mask(self.events[rows.numpy()])).to(device)
        rows = rows.to(device)
        return Batch(
            {name: column[rows] for name, column in self.user.items()},
            {name: column[rows] for name, column in self.item.items()},
            self.log_q[rows],
            mask,
            self.weight[rows],
        )

    def _mask(self, events: Array) -> Array:
        user, item = self.interactions.user[events], self.interactions.item[events]
        distinct, column = np.unique(item, return_inverse=True)
        row, seen = self.interactions.seen(events)
        place = np.searchsorted(distinct, seen).clip(max=len(distinct) - 1)
        there = distinct[place] == seen
        taken = np.zeros((len(events), len(distinct)), dtype=bool)
        taken[row[there], place[there]] = True
        taken[np.arange(len(events)), column] = True
        return taken[:, column] | (user[:, None] == user)


def _to(inputs: Inputs, device: torch.device) -> Inputs:
    return {name: tensor.to(device) for name, tensor in inputs.items()}


def _weights(pulled: Pulled) -> Array:
    """The weight of each interaction, float32; 1 where it has none."""
    return pulled.interactions[WEIGHT].cast("float32").fill_null(1.0).to_numpy()


def log_q(item: Array, window: int) -> Array:
    """The logarithm of each positive's item's share of the positives around it, float32, [positives].

    item: codes in order of time. The timeline is cut into stretches of about `window` positives; within each, the
    counts are smoothed towards the item's share over all stretches, which counts as one tenth of a stretch.
    """
    n = len(item)
    stretches = max(1, round(n / window))
    stretch = np.arange(n) * stretches // n
    overall = np.bincount(item)[item] / n
    _, number, count = np.unique(stretch * (int(item.max()) + 1) + item, return_inverse=True, return_counts=True)
    size, prior = n / stretches, n / stretches / 10
    return np.log((count[number] + prior * overall) / (size + prior)).astype(np.float32)
