"""One step of training, and all state that changes during a run."""

from collections.abc import Iterator

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.losses import JointLoss
from two_tower.training.compiled import embedder, loss_function
from two_tower.training.distributed import ProcessGroup
from two_tower.training.network.columns import Columns
from two_tower.training.network.towers import Tower, TwoTower
from two_tower.training.optimiser import Average, Optimiser, split
from two_tower.training.sampling import NEGATIVES
from two_tower.training.sampling.batches import Positives, Source


class Trainer:
    """The weights, their average, and the states of the optimiser, the sampler of negatives and the random numbers.

    Attributes:
        positives: The rows that the current batch is from.
        step: Number of steps done.
    """

    positives: Positives

    def __init__(
        self,
        network: TwoTower,
        source: Source,
        config: TrainConfig,
        group: ProcessGroup = ProcessGroup(),  # noqa: B008 - frozen
    ) -> None:
        self.network, self.source, self.config, self.group = network, source, config, group
        self.average = Average(network, config.averaging)
        self.sparse, self.dense = split(network)
        self.optimiser = Optimiser(network, config, source.steps(config.batch_size) * config.epochs)
        self.random = torch.Generator().manual_seed(config.seed)
        self.negatives = NEGATIVES[config.negatives](source, config, self.random, group)
        self.dropout_random = _dropout_generator(source.device)
        self.embed = {tower: embedder(tower, config, source.device) for tower in (network.user, network.item)}
        loss = JointLoss(config)
        self.loss, self.needs_user_scores = loss_function(loss, config), loss.needs_user_scores
        self.step = 0

    def batches(self, epoch: int, done: int = 0) -> Iterator[Tensor]:
        """Yield the row numbers of each batch of an epoch, except the first `done`.

        They depend on the seed and the epoch alone, not on what was trained before.
        """
        for positives, rows in self.source.batches(self.config.batch_size, self.config.seed * 1_000_003 + epoch, done):
            self.positives = self.negatives.positives = positives
            yield rows

    def advance(self, rows: Tensor) -> Tensor:
        """Train one step.

        With several processes, each embeds its share of the users and of the items, and scores its users with all
        items. The random numbers of dropout depend on the seed, the step and the rank.

        Args:
            rows: (batch,) int64, rows of `positives`.

        Returns:
            The loss, a scalar, which can be NaN or infinite.
        """
        network, positives, group = self.network, self.positives, self.group
        self.dropout_random.manual_seed((self.config.seed * 1_000_003 + self.step) * group.size + group.rank)
        self.negatives.refresh(self.average.network, self.step)
        network.train()
        batch = positives.batch(rows)
        own = group.share(len(batch))
        user = self._embedded(network.user, positives.user_columns, batch.rows[own])
        candidates = self.negatives.candidates(batch, user, own)
        part = self._embedded(network.item, positives.item_columns, group.padded_share(candidates.rows))
        item = group.gather_padded(part, len(candidates.rows))
        all_items = item if candidates.stored is None else torch.cat([item, candidates.stored])
        weight = batch.weight[own]
        users = (group.gather_shares(user, len(batch)), batch.seen_by(own)) if self.needs_user_scores else None
        pairs = (candidates.target, candidates.log_weight, candidates.mask, weight)
        loss = self.loss(user, all_items, *pairs, candidates.own, users)
        if group.size > 1:
            loss = loss * (weight.sum() / batch.weight.sum())
        loss.backward()  # type: ignore[no-untyped-call]
        group.sum_gradients(self.dense, self.sparse)
        self.step += 1
        self.optimiser.step(self.step)
        self.average.update(self.step)
        self.negatives.remember(batch, candidates, item)
        return group.sum(loss)

    def _embedded(self, tower: Tower, columns: Columns, rows: Tensor) -> Tensor:
        low = self.config.precision == "bfloat16"
        with torch.autocast(rows.device.type, torch.bfloat16, enabled=low):
            return self.embed[tower](columns.take(rows)).float()

    def weights(self) -> dict[str, Tensor]:
        """Return a copy of the averaged weights by name, each shared table once."""
        return {name: p.detach().clone() for name, p in self.average.network.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on, by name; the same in all processes."""
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
        """Restore what `state()` returned after `step` steps."""
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


def _dropout_generator(device: torch.device) -> torch.Generator:
    """Return the random generator that dropout uses on a device. The device must be initialised."""
    if device.type != "cuda":
        return torch.default_generator
    return torch.cuda.default_generators[torch.cuda.current_device()]
