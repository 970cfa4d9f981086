"""The training positives as columns on the device, and how batches are drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from two_tower.data.pulled import WEIGHT, Pulled, Split
from two_tower.data.seen import Interactions
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.schema import TowerName
from two_tower.training.network.columns import Columns
from two_tower.training.network.encoders import Encoders, prepare_table
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.rows_by_item import RowsByItem


@dataclass(frozen=True)
class Batch:
    """Some positives; each tensor has one element a positive, but for the pairs.

    rows: their rows of `Positives`. item: codes. weight: float32.
    pair_row, pair_item: [pairs], a place in the batch and the code of an item that is no negative of its user: the
        positive itself; what the user had taken before, which is never ranked; the user's other positives in the
        batch, which are in it because of the user, and not because an item was drawn. Pairs may repeat.
    items: how many codes of items there are.
    """

    rows: Tensor
    item: Tensor
    weight: Tensor
    pair_row: Tensor
    pair_item: Tensor
    items: int

    def __len__(self) -> int:
        return len(self.rows)

    def mask(self, item: Tensor, own: slice) -> Tensor:
        """Where candidates, [candidates] different codes, are no negatives: bool [own rows, candidates]."""
        rows, columns = own.stop - own.start, len(item)
        column = torch.full((self.items,), columns, device=item.device)
        column[item] = torch.arange(columns, device=item.device)
        row, at = self.pair_row - own.start, column[self.pair_item]
        elsewhere = (row < 0) | (row >= rows) | (at == columns)
        # Pairs from elsewhere write to a spare place: to leave them out, the host would wait for a GPU to count them.
        place = (row * columns + at).masked_fill_(elsewhere, rows * columns)
        mask = torch.zeros(rows * columns + 1, dtype=torch.bool, device=item.device).index_fill_(0, place, True)
        return mask[:-1].view(rows, columns)

    def takers(self, own: slice) -> Tensor:
        """Whether a user of the batch (columns) took the item of each positive of `own` (rows): bool [own, batch]."""
        item, place = torch.unique(self.item, return_inverse=True)
        return self.mask(item, slice(0, len(self)))[:, place[own]].T

    def taken(self, item: Tensor, own: slice) -> Tensor:
        """Where items drawn for each user alone, codes [batch, n], are no negatives: bool [own rows, n]."""
        pair, place = (item.index_select(0, self.pair_row) == self.pair_item.unsqueeze(1)).nonzero(as_tuple=True)
        mask = torch.zeros(item.shape, dtype=torch.bool, device=item.device)
        mask[self.pair_row[pair], place] = True
        return mask[own]


class Source(Protocol):
    """Where batches come from: `Positives` that memory holds, or `Shards` of them on disk.

    device: of what it gives. count: of the positives of each item, int64 [items].
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def count(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def steps(self, size: int) -> int:
        """How many batches of `size` an epoch has."""
        ...

    def batches(self, size: int, seed: int, done: int = 0) -> Iterator[tuple["Positives", Tensor]]:
        """Those of an epoch from number `done` on: each as rows of the positives beside it."""
        ...


@dataclass(frozen=True)
class Positives:
    """Training positives, ascending in time; every tensor has one row a positive, but for `taken` and `count`.

    user_columns, item_columns: what the towers read. user, item: codes; items: how many codes of items there are.
    taken: the items of all users, by user, then time; of a positive, `begin` and `length` say where those lie that its
        user had taken before. weight: float32.
    log_q: the logarithm of each item's share of the positives of its time, which is how likely another positive's item
        is to be that one. window: how many positives a batch's are near to in time.
    count: of the positives of each item, int64 [items]; also of those that are elsewhere.
    before: so many rows more stand first in item_columns, item and log_q: items as they were before these positives.
    """

    user_columns: Columns
    item_columns: Columns
    user: Tensor
    item: Tensor
    items: int
    taken: Tensor
    begin: Tensor
    length: Tensor
    log_q: Tensor
    weight: Tensor
    window: int
    count: Tensor
    before: int = 0

    @classmethod
    def of(
        cls, pulled: Pulled, encoders: Encoders, network: TwoTower, window: int, device: torch.device
    ) -> "Positives":
        """The first interaction of each user with each item in the training rows, for only new items are retrieved."""
        interactions = Interactions.of(pulled)
        rows = pulled.rows(Split.TRAIN)
        weight = weights(pulled.interactions)[rows]
        kept = ~interactions.repeated[rows] & (weight > 0)
        rows, weight = rows[kept], weight[kept]
        enough(len(rows))
        seconds, item = pulled.seconds[rows], interactions.item[rows]
        begin, length = interactions.spans(rows)

        def columns(tower: TowerName) -> Columns:
            prepared = prepare_table(encoders, tower, getattr(pulled, tower).take(rows), seconds)
            return Columns.of(getattr(network, tower).read(prepared), device)

        def on(values: Array) -> Tensor:
            return torch.tensor(values, device=device)

        return cls(
            columns("user"),
            columns("item"),
            on(interactions.user[rows]),
            on(item),
            len(interactions.items),
            on(interactions.taken),
            on(begin),
            on(length),
            on(log_q(item, window)),
            on(weight),
            window,
            on(np.bincount(item, minlength=len(interactions.items))),
        )

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def device(self) -> torch.device:
        return self.weight.device

    @cached_property
    def by_item(self) -> RowsByItem:
        return RowsByItem(self.item)

    def steps(self, size: int) -> int:
        return batches_of(len(self), size)

    def batches(self, size: int, seed: int, done: int = 0) -> Iterator[tuple["Positives", Tensor]]:
        for rows in self.epoch(size, torch.Generator().manual_seed(seed))[done:]:
            yield self, rows

    def epoch(self, size: int, random: torch.Generator) -> list[Tensor]:
        """Row numbers of the batches of one epoch, in random order, each drawn from one stretch of time.

        In-batch negatives then are items as they were at about that time, as they are when a catalogue is ranked.
        """
        places = torch.arange(len(self)) + torch.rand(len(self), generator=random) * self.window
        batches = [b for b in torch.split(places.argsort(), size) if len(b) > 1]  # one alone has no negative
        return [batches[number] for number in torch.randperm(len(batches), generator=random).tolist()]

    def batch(self, rows: Tensor) -> Batch:
        rows = rows.to(self.weight.device, non_blocking=True)
        item = self.item[rows + self.before]
        before, place = expand(self.begin[rows], self.length[rows])
        together, other = _of_one_user(self.user[rows])
        return Batch(
            rows,
            item,
            self.weight[rows],
            torch.cat([before, together]),
            torch.cat([self.taken[place.to(self.taken.device)].to(item), item[other]]),
            self.items,
        )


def expand(begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Every place of each span and the number of its span: two tensors [places], by span."""
    span = torch.repeat_interleave(length)
    start = begin - length.cumsum(0) + length
    return span, torch.arange(len(span), device=span.device) + start[span]


def _of_one_user(user: Tensor) -> tuple[Tensor, Tensor]:
    """All pairs of places with the same user, each place with itself too."""
    ordered, order = user.sort()
    begin = torch.searchsorted(ordered, user)
    row, place = expand(begin, torch.searchsorted(ordered, user, right=True) - begin)
    return row, order[place]


def weights(interactions: pa.Table) -> Array:
    """The weight of each interaction, float32; 1 where it has none."""
    return np.asarray(interactions[WEIGHT].cast("float32").fill_null(1.0).to_numpy())


def enough(positives: int) -> None:
    """Raise InputError for too few of them to have a negative."""
    if positives < 2:
        raise InputError(f"{positives} training positives: at least 2 are needed. Check the weights of interactions.")


def batches_of(length: int, size: int) -> int:
    """How many batches of `size` so many positives make; one that would be alone in its batch makes none."""
    return -(-length // size) - (length % size == 1)


def log_q(item: Array, window: int, overall: Array | None = None) -> Array:
    """The logarithm of each positive's item's share of the positives around it, float32, [positives].

    item: codes in order of time. The timeline is cut into stretches of about `window` positives; within each, the
    counts are smoothed towards the item's share over all stretches, which counts as one tenth of a stretch.
    overall: that share of each item, [items], where there are more positives than these.
    """
    n = len(item)
    stretches = max(1, round(n / window))
    stretch = np.arange(n) * stretches // n
    share = (np.bincount(item) / n if overall is None else overall)[item]
    _, number, count = np.unique(stretch * (int(item.max()) + 1) + item, return_inverse=True, return_counts=True)
    size, prior = n / stretches, n / stretches / 10
    return np.log((count[number] + prior * share) / (size + prior)).astype(np.float32)
