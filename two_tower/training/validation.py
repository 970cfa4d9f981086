"""Recall@20 on the validation window, measured like on the test window; early stopping uses it."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from two_tower.data.pulled import Pulled, Split
from two_tower.data.seen import Interactions
from two_tower.errors import InputError
from two_tower.evaluation import metrics
from two_tower.inputs import Array
from two_tower.losses import similarity
from two_tower.training.network.encoders import Encoders, prepare_table
from two_tower.training.network.towers import TwoTower

K = 20
MAX_EVENTS = 20_000  # a sample of the window's events separates epochs as well as all of them
BLOCK = 8_000_000  # scores in memory at a time


@dataclass(frozen=True)
class Events:
    """Validation events of weight above 0 with items that are new to their users.

    Attributes:
        features: User features at each event.
        seconds: (events,) int64, time of the event.
        item: (events,) int64, code of its item.
        person: (events,) int64, code of its user.
        event: (pairs,) int64, ascending, number of an event.
        seen: (pairs,) int64, code of an item that the event's user had seen before.
        items: The item keys of the codes.
    """

    features: pa.Table
    seconds: Array
    item: Array
    person: Array
    event: Array
    seen: Array
    items: pa.Array

    @classmethod
    def of(cls, pulled: Pulled) -> "Events":
        interactions = Interactions.from_pulled(pulled)
        rows = pulled.rows(Split.VALIDATION)
        rows = sampled(rows[interactions.is_positive[rows]])
        event, seen = interactions.seen(rows)
        item, user = interactions.item[rows], interactions.user[rows]
        return cls(pulled.user.take(rows), pulled.seconds[rows], item, user, event, seen, interactions.items)


def sampled(rows: Array) -> Array:
    """Return a random sample of MAX_EVENTS rows, or all if there are fewer.

    Raises:
        InputError: There are no rows.
    """
    if not len(rows):
        raise InputError(
            "there is no validation event to rank: each has weight 0 or is on an item that its user had seen before. "
            "Pull a longer window, or raise validation_fraction."
        )
    if len(rows) > MAX_EVENTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MAX_EVENTS, replace=False))
    return rows


@dataclass(frozen=True)
class Validation:
    """Validation events and the catalogue at the end of training.

    Attributes:
        user: Inputs of the user tower at each event.
        item: Inputs of the item tower for each catalogue row.
        target: (events,) int64, catalogue row of each event's item, -1 if the catalogue did not have it yet.
        person: (events,) int64, code of each event's user.
        event: (pairs,) int64, ascending, number of an event.
        seen: (pairs,) int64, catalogue row of an item that the event's user had seen before.
    """

    user: dict[str, Tensor]
    item: dict[str, Tensor]
    target: Array
    person: Array
    event: Array
    seen: Array

    @classmethod
    def of(cls, events: Events, pulled: Pulled, encoders: Encoders, device: torch.device) -> "Validation":
        """Prepare the inputs of both towers.

        Args:
            events: Validation events.
            pulled: The pull; only its contract, bounds and catalogue are read.
            encoders: Fitted encoders.
            device: Device of the inputs.
        """
        end = pulled.bounds.train_end
        catalogue = pulled.catalogue_at(end)
        place = np.full(len(events.items) + 1, -1)  # of each code; the last element is for keys without a code
        keys = pc.index_in(catalogue[pulled.contract.item_key].cast(events.items.type), value_set=events.items)
        place[keys.fill_null(len(events.items)).to_numpy()] = np.arange(catalogue.num_rows)
        known = place[events.seen] >= 0
        instant = np.full(catalogue.num_rows, int(end.timestamp()))
        user = prepare_table(encoders, "user", events.features, events.seconds)
        item = prepare_table(encoders, "item", catalogue, instant)
        return cls(
            {k: v.to(device) for k, v in user.items()},
            {k: v.to(device) for k, v in item.items()},
            place[events.item],
            events.person,
            events.event[known],
            place[events.seen[known]],
        )

    @torch.no_grad()
    def recall(self, network: TwoTower, name: str) -> float:
        """Return recall@20, averaged over each user's events, then over users.

        Args:
            network: The towers; they are left in evaluation mode.
            name: The similarity.
        """
        network.eval()
        items = network.item(self.item)
        rank = np.concatenate(
            [self._ranks(network, items, name, part) for part in _blocks(len(self.target), len(items))]
        )
        return float(metrics.per_user(metrics.recall(rank, K), self.person).mean())

    def _ranks(self, network: TwoTower, items: Tensor, name: str, part: slice) -> Array:
        users = network.user({k: v[part] for k, v in self.user.items()})
        first, last = np.searchsorted(self.event, (part.start, part.stop))
        event, seen, target = (
            torch.tensor(values, device=items.device)
            for values in (self.event[first:last] - part.start, self.seen[first:last], self.target[part])
        )
        scores = similarity(users, items, name)
        scores[event, seen] = -torch.inf
        return ranks(scores, target)


def ranks(scores: Tensor, target: Tensor) -> Array:
    """Return what `metrics.ranks` does, computed on the device of the scores.

    Args:
        scores: (events, items) float32 or minus infinity; they are overwritten.
        target: (events,) int64, column of each event's item, or -1.

    Returns:
        (events,) float64.
    """
    target_score = scores.gather(1, target.clamp(min=0).unsqueeze(1))
    assert not target_score.isnan().any(), "a score is NaN"
    # Scores above minus scores below. With the ties these add up to all others, so one sum gives the rank.
    lead = scores.sub_(target_score).sign_().sum(dim=1).double()
    is_ranked = (target >= 0) & (target_score.squeeze(1) > -torch.inf)
    return torch.where(is_ranked, (lead + scores.shape[1] - 1) / 2, torch.inf).cpu().numpy()


def _blocks(events: int, items: int) -> list[slice]:
    size = max(1, BLOCK // max(1, items))
    return [slice(start, min(start + size, events)) for start in range(0, events, size)]
