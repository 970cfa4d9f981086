"""One step of training, and all that changes in the course of a run."""

from collections.abc import Iterator

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.training.compiled import embedder, loss_function
from two_tower.training.distributed import Ranks
from two_tower.training.network.columns import Columns
from two_tower.training.network.towers import Tower, TwoTower
from two_tower.training.optimiser import Average, Optimiser, split
from two_tower.training.sampling.batches import Positives, Source
from two_tower.training.sampling.negatives import Negatives


class Trainer:
    """The weights, their average, and the states of the optimiser, the negatives and the random numbers."""

    positives: Positives  # those that the present batch is of

    def __init__(
        self,
        network: TwoTower,
        source: Source,
        config: TrainConfig,
        ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    ) -> None:
        self.network, self.source, self.config, self.ranks = network, source, config, ranks
        self.average = Average(network, config.averaging)
        self.sparse, self.dense = split(network)
        self.optimiser = Optimiser(network, config, source.steps(config.batch_size) * config.epochs)
        self.random = torch.Generator().manual_seed(config.seed)
        self.negatives = Negatives(source, config, self.random, ranks)
        self.chance = _chance(source.device)
        self.embed = {tower: embedder(tower, config, source.device) for tower in (network.user, network.item)}
        self.loss = loss_function(config)
        self.step = 0  # made so far

    def batches(self, epoch: int, done: int = 0) -> Iterator[Tensor]:
        """The positives of each batch of an epoch, but for the first `done`: the same, whatever was trained before."""
        for positives, rows in self.source.batches(self.config.batch_size, self.config.seed * 1_000_003 + epoch, done):
            self.positives = self.negatives.positives = positives
            yield rows

    def advance(self, rows: Tensor) -> Tensor:
        """One step on the positives of `rows`; returns the loss, which may be no finite number.

        Of several ranks each embeds its share of the users and of the items, and scores its users with all items. What
        its dropout draws is told by the seed, the step and the rank.
        """
        network, positives, ranks = self.network, self.positives, self.ranks
        self.chance.manual_seed((self.config.seed * 1_000_003 + self.step) * ranks.size + ranks.rank)
        self.negatives.refresh(self.average.network, self.step)
        network.train()
        batch = positives.batch(rows)
        own = ranks.share(len(batch))
        user = self._embedded(network.user, positives.user_columns, batch.rows[own])
        found = self.negatives.candidates(batch, user, own)
        part = self._embedded(network.item, positives.item_columns, ranks.padded(found.rows))
        item = ranks.gathered(part, len(found.rows))
        every = item if found.stored is None else torch.cat([item, found.stored])
        weight = batch.weight[own]
        users = (ranks.joined(user, len(batch)), batch.takers(own)) if self.config.loss == "info_nce" else None
        given = (found.target, found.log_weight, found.mask, weight)
        loss = self.loss(user, every, *given, self.config, found.own, users)
        if ranks.size > 1:
            loss = loss * (weight.sum() / batch.weight.sum())
        loss.backward()  # type: ignore[no-untyped-call]
        ranks.sum_gradients(self.dense, self.sparse)
        self.step += 1
        self.optimiser.step(self.step)
        self.average.follow(self.step)
        self.negatives.remember(batch, found, item)
        return ranks.total(loss)

    def _embedded(self, tower: Tower, columns: Columns, rows: Tensor) -> Tensor:
        low = self.config.precision == "bfloat16"
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=low):
            return self.embed[tower](columns.take(rows)).float()

    def weights(self) -> dict[str, Tensor]:
        """A copy of the averaged weights by name, each shared table once."""
        return {name: p.detach().clone() for name, p in self.average.network.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, by name: the same on all ranks."""
        groups: dict[str, dict[str, Tensor]] = {
            "network": dict(self.network.named_parameters()),
            "average": dict(self.average.network.named_parameters()),
            "optimiser": self.optimiser.state(),
            "negatives": self.negatives.state,
            "random": {"negatives": self.random.get_state()},
        }
        return {f"{group}/{name}": value.detach() for group, values in groups.items() for name, value in values.items()}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor], step: int) -> None:
        """Go on from `state()` after `step` steps."""
        device = self.source.device
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            group, _, name = key.partition("/")
            groups.setdefault(group, {})[name] = value
        for group, network in (("network", self.network), ("average", self.average.network)):
            for name, parameter in network.named_parameters():
                parameter.copy_(groups[group][name])
        self.optimiser.load(groups["optimiser"])
        self.negatives.state = {name: value.to(device) for name, value in groups.get("negatives", {}).items()}
        self.random.set_state(groups["random"]["negatives"])
        self.step = step


def _chance(device: torch.device) -> torch.Generator:
    """The random numbers that dropout draws on a device, which is in use already."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device()]
