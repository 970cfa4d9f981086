"""The training positives as columns on the device, and the batches drawn from them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from two_tower.data.pulled import Pulled, Split
from two_tower.data.seen import Interactions, known_until
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.schema import TowerName
from two_tower.training.network.columns import Columns
from two_tower.training.network.encoders import Encoders, prepare_table
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.rows_by_item import RowsByItem


@dataclass(frozen=True)
class Batch:
    """Some positives.

    Attributes:
        rows: (batch,) int64, rows of `Positives`.
        item: (batch,) int64, codes of their items.
        weight: (batch,) float32.
        pair_row: (pairs,) int64, positions in the batch.
        pair_item: (pairs,) int64, for each of them the code of an item that is not a negative of its user: the positive
            itself; the items that the user had seen before, which are never ranked; and the user's other positives in
            the batch, which are in it because of the user, not because an item was drawn. Pairs can repeat.
        items: Number of item codes.
        draws: Number of positives of other users, on average over the positives and at least 1: the draws of negatives.
    """

    rows: Tensor
    item: Tensor
    weight: Tensor
    pair_row: Tensor
    pair_item: Tensor
    items: int
    draws: float

    def __len__(self) -> int:
        return len(self.rows)

    def mask(self, item: Tensor, own: slice) -> Tensor:
        """Return where items are not negatives, bool (own, items).

        Args:
            item: (items,) int64, codes, all different.
            own: Rows of the batch.
        """
        rows, columns = own.stop - own.start, len(item)
        column = torch.full((self.items,), columns, device=item.device)
        column[item] = torch.arange(columns, device=item.device)
        row, at = self.pair_row - own.start, column[self.pair_item]
        outside = (row < 0) | (row >= rows) | (at == columns)
        # Other pairs write to a spare element: to leave them out, the host would wait for a GPU to count them.
        place = (row * columns + at).masked_fill_(outside, rows * columns)
        mask = torch.zeros(rows * columns + 1, dtype=torch.bool, device=item.device).index_fill_(0, place, True)
        return mask[:-1].view(rows, columns)

    def seen_by(self, own: slice) -> Tensor:
        """Return whether each user of the batch (columns) saw the item of each positive of `own`, bool (own, batch)."""
        item, place = torch.unique(self.item, return_inverse=True)
        return self.mask(item, slice(0, len(self)))[:, place[own]].T

    def seen(self, item: Tensor, own: slice) -> Tensor:
        """Return where items drawn for each user alone, codes (batch, n), are not negatives, bool (own, n)."""
        pair, place = (item.index_select(0, self.pair_row) == self.pair_item.unsqueeze(1)).nonzero(as_tuple=True)
        mask = torch.zeros(item.shape, dtype=torch.bool, device=item.device)
        mask[self.pair_row[pair], place] = True
        return mask[own]


class Source(Protocol):
    """The source of batches: `Positives` in memory, or `Shards` of them on disk.

    Attributes:
        device: Device of the tensors.
        count: (items,) int64, number of positives of each item.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def count(self) -> Tensor: ...

    def __len__(self) -> int: ...

    def steps(self, size: int) -> int:
        """Return the number of batches of `size` in an epoch."""
        ...

    def batches(self, size: int, seed: int, done: int = 0) -> Iterator[tuple["Positives", Tensor]]:
        """Yield the batches of an epoch from number `done` on: positives, and rows of them."""
        ...


@dataclass(frozen=True)
class Positives:
    """Training positives in ascending order of time; tensors have a row for each positive, except `seen` and `count`.

    Attributes:
        user_columns: Inputs of the user tower.
        item_columns: Inputs of the item tower.
        user: (positives,) int64, codes.
        item: (positives,) int64, codes.
        items: Number of item codes.
        seen: (interactions,) integer, codes of the items of all users, by user, then time.
        begin: (positives,) int64, start of the items in `seen` that the user had seen before.
        length: (positives,) int64, number of these items.
        log_q: (positives,) float32, logarithm of the item's share of the positives of that time, which is the
            probability that another positive has the same item.
        weight: (positives,) float32.
        window: Maximum distance in time between the positives of a batch, counted in positives.
        count: (items,) int64, number of positives of each item, including those on disk.
        before: Number of additional rows at the start of `item_columns`, `item` and `log_q`: items as they were before
            these positives.
    """

    user_columns: Columns
    item_columns: Columns
    user: Tensor
    item: Tensor
    items: int
    seen: Tensor
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
        """Take the first interaction of each user with each item in the training rows: only new items are retrieved.

        Raises:
            InputError: There are fewer than 2 positives.
        """
        interactions = Interactions.from_pulled(pulled)
        rows = pulled.rows(Split.TRAIN)
        rows = rows[interactions.is_positive[rows]]
        require_positives(len(rows))
        seconds, item = pulled.seconds[rows], interactions.item[rows]
        begin, length = interactions.spans(rows, until=known_until(interactions.micros[rows], pulled.bounds))

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
            on(interactions.first_items),
            on(begin),
            on(length),
            on(log_q(item, window)),
            on(interactions.weight[rows]),
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
        """Return the row numbers of the batches of one epoch, in random order, each from one period of time.

        In-batch negatives then are items as they were at about that time, as they are when a catalogue is ranked.
        """
        places = torch.arange(len(self)) + torch.rand(len(self), generator=random) * self.window
        batches = [b for b in torch.split(places.argsort(), size) if len(b) > 1]  # a single positive has no negative
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
            torch.cat([self.seen[place.to(self.seen.device)].to(item), item[other]]),
            self.items,
            max(len(rows) - len(together) / len(rows), 1.0),
        )


def expand(begin: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the number of the span and the place for each place of each span, two int64 tensors (places,)."""
    span = torch.repeat_interleave(length)
    start = begin - length.cumsum(0) + length
    return span, torch.arange(len(span), device=span.device) + start[span]


def _of_one_user(user: Tensor) -> tuple[Tensor, Tensor]:
    """Return all pairs of positions with the same user, including each position with itself."""
    ordered, order = user.sort()
    begin = torch.searchsorted(ordered, user)
    row, place = expand(begin, torch.searchsorted(ordered, user, right=True) - begin)
    return row, order[place]


def require_positives(positives: int) -> None:
    """Raise InputError unless there are at least 2 positives, so that each has a negative."""
    if positives < 2:
        raise InputError(f"{positives} training positives: at least 2 are needed. Check the weights of interactions.")


def batches_of(length: int, size: int) -> int:
    """Return the number of batches of `size` for `length` positives; a batch of one is left out."""
    return -(-length // size) - (length % size == 1)


def log_q(item: Array, window: int, overall: Array | None = None) -> Array:
    """Return the logarithm of the share of each positive's item among the positives around it.

    The time line is cut into periods of about `window` positives. Within each, the counts are smoothed towards the
    item's share of all periods, which counts as one tenth of a period.

    Args:
        item: (positives,) int64, codes in order of time.
        window: Number of positives in a period.
        overall: (items,) float64, share of each item, if there are more positives than these.

    Returns:
        (positives,) float32.
    """
    n = len(item)
    periods = max(1, round(n / window))
    period = np.arange(n) * periods // n
    share = (np.bincount(item) / n if overall is None else overall)[item]
    _, number, count = np.unique(period * (int(item.max()) + 1) + item, return_inverse=True, return_counts=True)
    size, prior = n / periods, n / periods / 10
    return np.log((count[number] + prior * share) / (size + prior)).astype(np.float32)
