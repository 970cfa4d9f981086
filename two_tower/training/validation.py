"""Recall@20 on the validation window, as it is measured on the test window: what early stopping looks at."""

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
MOST_EVENTS = 20_000  # a sample of the window's events tells epochs apart as well as all of them
BLOCK = 8_000_000  # scores held at a time


@dataclass(frozen=True)
class Events:
    """Validation events on items new to their users.

    features: of the user tower as of each event. seconds, item, person: its time, and the codes of its item and user,
    int64 [events]. event, seen: pairs of an event and the code of an item that its user had taken before, ascending by
    event. items: the keys that codes stand for.
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
        interactions = Interactions.of(pulled)
        rows = pulled.rows(Split.VALIDATION)
        rows = chosen(rows[~interactions.repeated[rows]])
        event, seen = interactions.seen(rows)
        item, user = interactions.item[rows], interactions.user[rows]
        return cls(pulled.user.take(rows), pulled.seconds[rows], item, user, event, seen, interactions.items)


def chosen(rows: Array) -> Array:
    """MOST_EVENTS of the rows, or all where they are fewer; InputError where there is none."""
    if not len(rows):
        raise InputError(
            "no validation event is left to rank: all are on items that their users had seen before. "
            "Pull a longer window, or raise validation_fraction."
        )
    if len(rows) > MOST_EVENTS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_EVENTS, replace=False))
    return rows


@dataclass(frozen=True)
class Validation:
    """Validation events and the catalogue at the end of training.

    user: inputs of each event; item: inputs of each catalogue row. target: the catalogue row of each event's item, -1
    where it was not yet there. person: user code of each event. event, seen: pairs of an event and a catalogue row that
    its user had taken before, ascending by event.
    """

    user: dict[str, Tensor]
    item: dict[str, Tensor]
    target: Array
    person: Array
    event: Array
    seen: Array

    @classmethod
    def of(cls, events: Events, pulled: Pulled, encoders: Encoders, device: torch.device) -> "Validation":
        """pulled: of which the contract, the bounds and the catalogue are read."""
        end = pulled.bounds.train_end
        catalogue = pulled.catalogue_at(end)
        place = np.full(len(events.items) + 1, -1)  # of each code; one more for keys that no code stands for
        keys = pc.index_in(catalogue[pulled.contract.item_key].cast(events.items.type), value_set=events.items)
        place[keys.fill_null(len(events.items)).to_numpy()] = np.arange(catalogue.num_rows)
        there = place[events.seen] >= 0
        instant = np.full(catalogue.num_rows, int(end.timestamp()))
        user = prepare_table(encoders, "user", events.features, events.seconds)
        item = prepare_table(encoders, "item", catalogue, instant)
        return cls(
            {k: v.to(device) for k, v in user.items()},
            {k: v.to(device) for k, v in item.items()},
            place[events.item],
            events.person,
            events.event[there],
            place[events.seen[there]],
        )

    @torch.no_grad()
    def recall(self, network: TwoTower, name: str) -> float:
        """Recall@20, averaged over each user's events, then over users; leaves the network in evaluation mode."""
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
    """What `metrics.ranks` gives, counted on the device where the scores are; they are overwritten.

    scores: [events, items] float32, or minus infinity. target: int64 [events]. Returns float64 [events].
    """
    own = scores.gather(1, target.clamp(min=0).unsqueeze(1))
    assert not own.isnan().any(), "a score is a number"
    # Those above less those below: with the ties they add up to all others, and so tell the place in one sum.
    lead = scores.sub_(own).sign_().sum(dim=1).double()
    there = (target >= 0) & (own.squeeze(1) > -torch.inf)
    return torch.where(there, (lead + scores.shape[1] - 1) / 2, torch.inf).cpu().numpy()


def _blocks(events: int, items: int) -> list[slice]:
    size = max(1, BLOCK // max(1, items))
    return [slice(start, min(start + size, events)) for start in range(0, events, size)]
