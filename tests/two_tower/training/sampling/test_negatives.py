"""Each sampler: whom it draws, what it masks, and what its negatives stand for."""

import pytest
import torch

from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.training.distributed import ProcessGroup
from two_tower.training.network.encoders import fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling import NEGATIVES, Candidates, Sampler
from two_tower.training.sampling.batches import Positives
from two_tower.training.trainer import Trainer

DRAWN = ("uniform", "popularity", "mixed", "hard")


@pytest.fixture(scope="module")
def network() -> TwoTower:
    torch.manual_seed(0)
    return TwoTower(fit(checkerboard()), TrainConfig(dim=8)).eval()


@pytest.fixture(scope="module")
def positives(network: TwoTower) -> Positives:
    world = checkerboard()
    return Positives.of(world, fit(world), network, 10_000, torch.device("cpu"))


def sampler(positives: Positives, network: TwoTower, kind: str, count: int = 64, **settings) -> Sampler:
    config = TrainConfig(negatives=kind, sampled_negatives=count, **settings)
    found = NEGATIVES[kind](positives, config, torch.Generator().manual_seed(0), ProcessGroup())
    found.positives = positives
    found.refresh(network, 0)
    return found


def embedded(network: TwoTower, positives: Positives, rows: torch.Tensor) -> torch.Tensor:
    return network.user.embed(positives.user_columns.take(rows)).detach()


def candidates(positives: Positives, network: TwoTower, negatives: Sampler, rows: torch.Tensor) -> Candidates:
    return negatives.candidates(positives.batch(rows), embedded(network, positives, rows), slice(0, len(rows)))


@pytest.mark.parametrize("kind", ["in_batch", *DRAWN, "queue"])
def test_targets_are_the_positives_and_hits_are_masked(positives, network, kind):
    negatives = sampler(positives, network, kind)
    for start in (600, 640, 680):
        rows = torch.arange(start, start + 40)
        batch = positives.batch(rows)
        found = candidates(positives, network, negatives, rows)
        assert torch.equal(found.item[found.target], batch.item)
        assert torch.equal(positives.item[found.rows], found.item) and len(found.item.unique()) == len(found.item)
        codes = found.item[len(found.item) - len(found.log_weight) :]
        if found.stored is not None:
            codes = torch.cat([found.item, negatives.state["item"]])
            assert len(found.stored) == len(codes) - len(found.item)
        assert found.mask.shape == (40, len(codes)) and found.log_weight.shape == (len(codes),)
        for u in range(40):
            taken = set(batch.pair_item[batch.pair_row == u].tolist())
            assert found.mask[u].tolist() == [c in taken for c in codes.tolist()]
        negatives.remember(batch, found, torch.zeros(len(found.item), 8))


def test_an_item_is_read_as_it_was_at_its_earliest_positive_of_the_batch(positives, network):
    rows = torch.tensor([700, 500, 600, 512])
    found = candidates(positives, network, sampler(positives, network, "in_batch"), rows)
    for code, row in zip(found.item.tolist(), found.rows.tolist(), strict=True):
        assert row == min(r for r in rows.tolist() if positives.item[r] == code)


def test_an_item_from_elsewhere_is_read_as_it_was_before_the_batch(positives, network):
    rows = torch.arange(600, 604)
    found = candidates(positives, network, sampler(positives, network, "uniform", 400), rows)
    own = set(positives.item[rows].tolist())
    for code, row in zip(found.item.tolist(), found.rows.tolist(), strict=True):
        before = [r for r in range(601) if positives.item[r] == code]
        assert code in own or row == before[-1]


@pytest.mark.parametrize("kind", ["in_batch", "uniform", "popularity", "mixed"])
def test_negatives_stand_for_the_catalogue(positives, network, kind):
    """Over many batches, the weights of an item's draws average to one."""
    negatives = sampler(positives, network, kind, popularity_exponent=0.5)
    random, total, rounds = torch.Generator().manual_seed(1), torch.zeros(positives.items), 400
    for _ in range(rounds):
        rows = torch.randint(len(positives), (64,), generator=random).unique()
        found = candidates(positives, network, negatives, rows)
        total[found.item[-len(found.log_weight) :]] += found.log_weight.exp()
    mean = total[total > 0] / rounds
    assert mean.mean().item() == pytest.approx(1, abs=0.1) and (mean - 1).abs().max() < 0.8


def test_a_users_own_positives_are_not_draws(positives, network):
    rows = torch.cat([torch.nonzero(positives.user == user).flatten()[:4] for user in (0, 1)])
    found = candidates(positives, network, sampler(positives, network, "in_batch"), rows)
    count = torch.unique(positives.item[rows], return_counts=True)[1]
    expected = 4 * positives.log_q[found.rows].exp()  # the other user has four positives
    torch.testing.assert_close(found.log_weight.exp(), count / expected)


def test_a_batch_of_one_user_has_finite_weights(positives, network):
    rows = torch.nonzero(positives.user == 0).flatten()[:4]
    found = candidates(positives, network, sampler(positives, network, "in_batch"), rows)
    assert found.log_weight.isfinite().all() and found.mask.all()


def test_the_queue_counts_with_the_batch_as_one_sample(positives, network):
    negatives = sampler(positives, network, "queue", 1000)
    first, second = torch.arange(0, 64), torch.arange(64, 128)
    found = candidates(positives, network, negatives, first)
    alone = candidates(positives, network, sampler(positives, network, "in_batch"), second)
    negatives.remember(positives.batch(first), found, torch.randn(len(found.item), 8))
    both = candidates(positives, network, negatives, second)
    assert both.stored is not None and len(both.stored) == len(found.item)
    own = len(alone.item)
    # A user's own positives in a batch are not draws; all 64 positives of the earlier batch are.
    draws, earlier = positives.batch(second).draws, positives.batch(first).draws
    torch.testing.assert_close(both.log_weight[:own].exp() * (draws + 64), alone.log_weight.exp() * draws)
    torch.testing.assert_close(both.log_weight[own:].exp() * (draws + 64), found.log_weight.exp() * earlier)


def test_the_queue_keeps_the_newest(positives, network):
    negatives = sampler(positives, network, "queue", 30)
    for start in (0, 64):
        rows = torch.arange(start, start + 64)
        found = candidates(positives, network, negatives, rows)
        negatives.remember(positives.batch(rows), found, torch.zeros(len(found.item), 8))
    assert torch.equal(negatives.state["item"], found.item[:30])
    embedding = network.item.embed(positives.item_columns.take(found.rows[:30]))
    torch.testing.assert_close(negatives.state["embedding"], embedding.detach())


def test_the_queue_keeps_embeddings_of_the_averaged_weights(positives):
    trained = TwoTower(fit(checkerboard()), TrainConfig(dim=8))
    trainer = Trainer(trained, positives, TrainConfig(dim=8, negatives="queue", batch_size=64, learning_rate=0.1))
    for rows in list(trainer.batches(1))[:5]:
        trainer.advance(rows)
    queue, codes = trainer.negatives.state, trainer.negatives.state["item"][:20]
    columns = positives.item_columns.take(positives.by_item.last(codes, torch.tensor(len(positives.item))))
    averaged, moving = (network.eval().item.embed(columns) for network in (trainer.average.network, trained))
    newest = queue["embedding"][:20]
    torch.testing.assert_close(newest, averaged.detach())
    assert (newest - moving).abs().max() > 0.1


def test_hard_negatives_are_near_and_not_taken(positives, network):
    negatives = sampler(positives, network, "hard", 4 * 64)
    rows = torch.arange(500, 564)
    user, batch = embedded(network, positives, rows), positives.batch(rows)
    mined = negatives.draw(batch, user, slice(0, 64))
    scores = user @ negatives.state["index"].T
    found = candidates(positives, network, negatives, rows)
    assert len(mined) == 4 * 64 and set(mined.tolist()) <= set(positives.item.tolist())
    extra = ~torch.isin(found.item, batch.item)
    assert (found.log_weight[extra] == 0).all()  # each stands for itself
    assert scores[:, mined].mean() > scores.mean()


def test_the_index_is_made_anew_when_it_is_time(positives, network):
    negatives = sampler(positives, network, "hard", hard_refresh=3)
    index = negatives.state["index"]
    for step, same in ((1, True), (2, True), (3, False)):
        negatives.refresh(network, step)
        assert (negatives.state["index"] is index) == same


def test_own_negatives_are_each_positives_own_and_masked_where_taken(positives, network):
    negatives = sampler(positives, network, "own", 3 * 512, popularity_exponent=0, loss="pointwise")
    rows = torch.arange(600, 640)
    batch = positives.batch(rows)
    found = candidates(positives, network, negatives, rows)
    assert found.own.shape == found.mask.shape == (40, 3) and found.log_weight.tolist() == [0] * 3
    assert torch.equal(found.item[found.target], batch.item) and len(found.item.unique()) == len(found.item)
    drawn = found.item[found.own]
    assert len(drawn[:, 0].unique()) > 20 and not torch.equal(drawn[:, 0], drawn[:, 1])
    for u in range(40):
        taken = set(batch.pair_item[batch.pair_row == u].tolist())
        assert found.mask[u].tolist() == [c in taken for c in drawn[u].tolist()]
    assert 0.1 < found.mask.float().mean() < 0.9
    again = sampler(positives, network, "own", 3 * 512, popularity_exponent=0, loss="pointwise")
    half = again.candidates(batch, embedded(network, positives, rows), slice(10, 30))
    assert torch.equal(half.own, found.own[10:30]) and torch.equal(half.mask, found.mask[10:30])
