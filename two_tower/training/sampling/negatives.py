"""The negatives of a batch: the protocol of a sampler, the registry, and the base class, which takes the batch's items.

An item that occurs several times in a batch is encoded once, as it was at the earliest of its positives there. For
every sampler, an item that the user interacted with, before or in this batch, is masked: such accidental hits are not
negatives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.plugins import Registry, violation
from two_tower.training.distributed import ProcessGroup
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Batch, Positives, Source


@dataclass(frozen=True)
class Candidates:
    """The items that a batch's users are scored with: their positives and the negatives.

    Attributes:
        item: (encoded,) int64, codes of the items to encode, all different.
        rows: (encoded,) int64, rows of `Positives.item_columns` from which each of them is encoded.
        target: (own,) int64, the candidate that is each user's positive.
        log_weight: (negatives,) float32, logarithm of the number of catalogue items that each negative stands for. The
            last `negatives` of the candidates are the negatives.
        mask: (own, negatives) bool, True where an item is not a negative of the user.
        stored: (stored, dim) float32, embeddings of further candidates, which follow the encoded ones and get no
            gradient.
        own: (own, negatives) int64, the candidates that are each user's negatives, if every user has its own.
    """

    item: Tensor
    rows: Tensor
    target: Tensor
    log_weight: Tensor
    mask: Tensor
    stored: Tensor | None = None
    own: Tensor | None = None


class Sampler(Protocol):
    """A sampler of negatives, created once per training run as `Sampler(source, config, random, group)`.

    `source` has the training positives, `random` is a generator on the CPU that is in the same state in all processes
    of `group`. Only draws from `random` are restored from a checkpoint. `BatchSampler` has most of this.

    Attributes:
        from_catalogue: Class attribute; False if all negatives are items of the batch or of earlier batches.
        positives: The rows that the next batch is from; the trainer sets it.
        state: Tensors that a checkpoint keeps, by name.
    """

    from_catalogue: bool
    positives: Positives
    state: dict[str, Tensor]

    def candidates(self, batch: Batch, user: Tensor, own: slice) -> Candidates:
        """Return the candidates of a batch.

        Args:
            batch: The positives of all processes.
            user: (own, dim) float32, embeddings of the users that this process trains on.
            own: The rows of the batch that they are. `target`, `mask` and `own` of the result are of these rows; the
                items are the same in all processes.
        """
        ...

    def remember(self, batch: Batch, candidates: Candidates, embedding: Tensor) -> None:
        """Keep what later batches need; called after each step.

        Args:
            batch: The positives of all processes.
            candidates: What `candidates` returned for it.
            embedding: (encoded, dim) float32, embeddings of `candidates.item`.
        """
        ...

    def refresh(self, network: TwoTower, step: int) -> None:
        """Update the state from the network; called before each step.

        Args:
            network: The towers with the moving average of the weights, which each step updates in place.
            step: Number of steps done.
        """
        ...


KIND = "a sampler of negatives"
SamplerFactory = Callable[[Source, TrainConfig, torch.Generator, ProcessGroup], Sampler]
NEGATIVES: Registry[SamplerFactory] = Registry("negatives", "source", "config", "random", "group")


@dataclass(frozen=True)
class Sample:
    """The different items of a batch and of the draws for it.

    Attributes:
        item: (items,) int64, codes, ascending.
        count: (items,) int64, how often the batch and the draws have each item.
        drawn: (items,) int64, how often it was drawn.
        draws: Number of draws.
        expected: (items,) float32, how often the positives of other users in a batch are of it, on average.
    """

    item: Tensor
    count: Tensor
    drawn: Tensor
    draws: int
    expected: Tensor


@NEGATIVES.register("in_batch")
class BatchSampler:
    """Uses the positives of the other users of the batch as negatives.

    An item is in a batch with the probability of its share of the positives in that period.

    A subclass adds items to those of the batch by overriding `draw` and `represented`; with `uses_batch = False`, only
    the items that `draw` returned are negatives.

    Attributes:
        share: (items,) float32, probability of each item in `sample`: (count of positives) ** popularity_exponent.
    """

    from_catalogue = False
    uses_batch = True
    positives: Positives

    def __init__(self, source: Source, config: TrainConfig, random: torch.Generator, group: ProcessGroup) -> None:
        self.config, self.random, self.group = config, random, group
        count = source.count.double()
        share = torch.where(count > 0, count ** self.exponent(), 0.0)
        self.share = (share / share.sum()).float()
        self.cumulated = share.cumsum(0) / share.sum()
        self.state: dict[str, Tensor] = {}

    def exponent(self) -> float:
        """Return the exponent of the item counts in `share`; 0 makes all items equally likely."""
        return self.config.popularity_exponent

    def draw(self, batch: Batch, user: Tensor, own: slice) -> Tensor:
        """Return codes of further items, (draws,) int64, each as often as it was drawn; the same in all processes."""
        return batch.item[:0]

    def represented(self, sample: Sample) -> Tensor:
        """Return the number of catalogue items that each negative stands for, (negatives,) float32.

        The negatives are all items of the sample or, with `uses_batch = False`, those with `drawn` > 0.
        """
        return sample.count / sample.expected

    def sample(self, *shape: int) -> Tensor:
        """Draw codes of items with the probabilities `share`, int64 of a shape."""
        uniform = torch.rand(shape, generator=self.random, dtype=torch.float64)
        drawn = torch.searchsorted(self.cumulated, uniform.to(self.cumulated.device, non_blocking=True), right=True)
        return drawn.clamp(max=len(self.cumulated) - 1)

    def candidates(self, batch: Batch, user: Tensor, own: slice) -> Candidates:
        drawn = self.draw(batch, user.detach(), own)
        if len(drawn) and not self.from_catalogue:
            raise violation(
                f"negatives={type(self).__qualname__}", KIND, "from_catalogue is False, but it draws items."
            )
        item, place, count = torch.unique(torch.cat([batch.item, drawn]), return_inverse=True, return_counts=True)
        drawn_place = place[len(batch) :]
        times = torch.zeros_like(item).scatter_add_(0, drawn_place, torch.ones_like(drawn_place))
        if not self.uses_batch:  # the items of the batch that were not drawn come first
            order = (times > 0).int().argsort(stable=True)
            item, times, count, place = item[order], times[order], count[order], order.argsort()[place]
        target = place[: len(batch)]
        rows = self.rows(batch, item, target)
        expected = batch.draws * self.positives.log_q[rows].exp()
        weight = self.represented(Sample(item, count, times, len(drawn), expected))
        mask = batch.mask(item[len(item) - len(weight) :], own)
        return Candidates(item, rows, target[own], weight.log(), mask)

    def rows(self, batch: Batch, item: Tensor, target: Tensor) -> Tensor:
        """Return the row from which each item is encoded.

        That is its earliest positive in the batch. For an item outside of the batch, it is its last positive before.
        """
        beyond, own = len(self.positives.item), batch.rows + self.positives.before
        rows = torch.full_like(item, beyond).scatter_reduce(0, target, own, "amin")
        if not self.from_catalogue:
            return rows
        return torch.where(rows < beyond, rows, self.positives.by_item.last(item, own.min()))

    def remember(self, batch: Batch, candidates: Candidates, embedding: Tensor) -> None:
        """Keep nothing."""

    def refresh(self, network: TwoTower, step: int) -> None:
        """Update nothing."""
