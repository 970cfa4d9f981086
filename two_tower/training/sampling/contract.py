"""The contract test of a sampler of negatives."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.plugins import check_parameters, violation
from two_tower.schema import feature
from two_tower.training.distributed import ProcessGroup
from two_tower.training.network.columns import Columns
from two_tower.training.network.encoders import Encoders
from two_tower.training.network.fitted import Fitted
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling import NEGATIVES
from two_tower.training.sampling.batches import Batch, Positives, log_q
from two_tower.training.sampling.negatives import KIND, Candidates, Sampler, SamplerFactory

USERS, ITEMS, POSITIVES, BATCH = 12, 40, 240, 32


def check_negatives(negatives: SamplerFactory | str, config: TrainConfig | None = None) -> None:
    """Check that a sampler follows the protocol `Sampler`, on random positives of 12 users and 40 items.

    Args:
        negatives: Class or function of (source, config, random, group), or its name as in the setting `negatives`.
        config: Settings that the sampler is created with. Default: the defaults.

    Raises:
        InputError: The sampler breaks the protocol; the message names the rule.
    """
    label = f"negatives={negatives if isinstance(negatives, str) else getattr(negatives, '__qualname__', negatives)}"
    factory: SamplerFactory = NEGATIVES[negatives] if isinstance(negatives, str) else negatives
    check_parameters(factory, NEGATIVES.parameters, label)
    config = config or TrainConfig(sampled_negatives=2 * BATCH, batch_size=BATCH)
    network, positives = _data(config)
    for name in ("candidates", "remember", "refresh"):
        if not callable(getattr(factory(positives, config, torch.Generator(), ProcessGroup()), name, None)):
            raise violation(label, KIND, f"it has no method {name}; subclass BatchSampler to inherit one.")
    runs = [list(_run(factory, network, positives, config)) for _ in range(2)]
    for (batch, candidates, state, own), (_, again, _, _) in zip(*runs, strict=True):
        _check(candidates, batch, positives, own, label)
        from_catalogue = getattr(factory, "from_catalogue", True)
        if not from_catalogue and not torch.isin(candidates.item, batch.item).all():
            raise violation(label, KIND, "from_catalogue is False, but it returns items that are not in the batch.")
        if not (torch.equal(candidates.item, again.item) and torch.equal(candidates.log_weight, again.log_weight)):
            raise violation(label, KIND, "the same generator state gives other candidates.")
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise violation(label, KIND, "state is not a dictionary of tensors.")


def _run(
    factory: SamplerFactory, network: TwoTower, positives: Positives, config: TrainConfig
) -> Iterator[tuple[Batch, Candidates, dict[str, Tensor], slice]]:
    """Three steps, the last with a new sampler that has the state of the first one, as after a checkpoint."""
    random = torch.Generator().manual_seed(0)
    sampler: Sampler = factory(positives, config, random, ProcessGroup())
    for step in range(3):
        if step == 2:
            sampler, state = factory(positives, config, random, ProcessGroup()), sampler.state
            sampler.state = state
        sampler.positives = positives
        sampler.refresh(network, 0 if step < 2 else 1)
        batch = positives.batch(torch.arange(BATCH) + 100 + step * BATCH)
        own = slice(0, BATCH) if step < 2 else slice(4, BATCH - 4)
        user = network.user.embed(positives.user_columns.take(batch.rows[own])).detach()
        candidates = sampler.candidates(batch, user, own)
        yield batch, candidates, sampler.state, own
        sampler.remember(batch, candidates, network.item.embed(positives.item_columns.take(candidates.rows)))


def _check(candidates: Candidates, batch: Batch, positives: Positives, own: slice, label: str) -> None:
    users, negatives = own.stop - own.start, len(candidates.log_weight)
    stored = 0 if candidates.stored is None else len(candidates.stored)
    codes = torch.cat([candidates.item, torch.full((stored,), -1)])
    rules = {
        "its candidates have an item twice.": len(torch.unique(candidates.item)) == len(candidates.item),
        "`rows` are not positives of `item`.": torch.equal(positives.item[candidates.rows], candidates.item),
        "`target` is not the item of each user's positive.": candidates.target.shape == (users,)
        and torch.equal(candidates.item[candidates.target], batch.item[own]),
        "`log_weight` is not float32 (negatives,).": candidates.log_weight.shape == (negatives,)
        and candidates.log_weight.dtype == torch.float32,
        "`log_weight` is NaN or infinite.": bool(candidates.log_weight.isfinite().all()),
        "`mask` is not bool (own, negatives).": candidates.mask.shape == (users, negatives)
        and candidates.mask.dtype == torch.bool,
        "there are more negatives than candidates.": candidates.own is not None or negatives <= len(codes),
    }
    for rule, holds in rules.items():
        if not holds:
            raise violation(label, KIND, rule)
    shared = codes[len(codes) - negatives :].expand(users, -1)
    drawn = shared if candidates.own is None else codes[candidates.own]
    for row in range(users):
        seen = batch.pair_item[batch.pair_row == row + own.start]
        if not candidates.mask[row][torch.isin(drawn[row], seen)].all():
            raise violation(label, KIND, "it does not mask an item that the user interacted with.")


def _data(config: TrainConfig) -> tuple[TwoTower, Positives]:
    random = np.random.default_rng(0)
    user = random.permutation(np.repeat(np.arange(USERS), POSITIVES // USERS))
    order = [random.permutation(ITEMS) for _ in range(USERS)]
    earlier = np.array([(user[:row] == user[row]).sum() for row in range(POSITIVES)])
    item = np.array([order[u][n] for u, n in zip(user, earlier, strict=True)])
    by_user = np.argsort(user, kind="stable")
    fitted = [
        Fitted(feature=feature(name, "Int64", {"encoding": "categorical"}), table=name, vocabulary=tuple(range(size)))
        for name, size in (("user", USERS), ("item", ITEMS))
    ]
    torch_random = torch.random.get_rng_state()
    torch.manual_seed(0)
    network = TwoTower(Encoders((fitted[0],), (fitted[1],)), config).eval()
    torch.random.set_rng_state(torch_random)
    cpu = torch.device("cpu")
    return network, Positives(
        Columns.of([torch.tensor(user) + 1], cpu),
        Columns.of([torch.tensor(item) + 1], cpu),
        torch.tensor(user),
        torch.tensor(item),
        ITEMS,
        torch.tensor(item[by_user]),
        torch.tensor(np.searchsorted(user[by_user], user)),
        torch.tensor(earlier),
        torch.tensor(log_q(item, POSITIVES)),
        torch.ones(POSITIVES),
        POSITIVES,
        torch.tensor(np.bincount(item, minlength=ITEMS)),
    )
