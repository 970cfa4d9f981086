import numpy as np
import pytest
import torch

from tests.two_tower.worlds import checkerboard, weighted
from two_tower.data.pulled import Split
from two_tower.evaluation import metrics
from two_tower.training.network.encoders import fit
from two_tower.training.validation import Events, Validation, ranks


class Fixed(torch.nn.Module):
    """Towers that embed a user by parity and an item by parity, or by the opposite one."""

    def __init__(self, encoders, flipped: bool) -> None:
        super().__init__()
        self.encoders, self.flipped = encoders, flipped

    def user(self, inputs):
        return self._embed(inputs["user"], self.encoders.user[0].vocabulary, False)

    def item(self, inputs):
        return self._embed(inputs["item"], self.encoders.item[0].vocabulary, self.flipped)

    def _embed(self, ids, vocabulary, flipped):
        parity = torch.tensor([int(vocabulary[i - 1][1:]) % 2 for i in ids.tolist()])
        return torch.nn.functional.one_hot(parity ^ flipped, 2).float()


def test_recall_of_towers_that_know_the_answer_and_of_their_opposite():
    """At validation each user has at most 15 untaken items of the own parity left, and only those tie for the top."""
    world = checkerboard()
    encoders = fit(world)
    validation = Validation.of(Events.of(world), world, encoders, torch.device("cpu"))
    assert validation.recall(Fixed(encoders, flipped=False), "cosine") == 1.0
    assert validation.recall(Fixed(encoders, flipped=True), "cosine") == 0.0


def test_ranks_are_those_of_the_metrics_with_ties_and_items_that_are_not_allowed():
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(300, 40, generator=random).mul(3).round()
    scores[torch.rand(scores.shape, generator=random) < 0.1] = -torch.inf
    target = torch.randint(-1, 40, (300,), generator=random)
    expected = metrics.ranks(scores.numpy(), target.numpy())
    assert np.isinf(expected).sum() > 20 and (expected[np.isfinite(expected)] % 1 == 0.5).sum() > 20
    found = ranks(scores, target)
    assert found.dtype == np.float64 and np.array_equal(found, expected)


def test_a_score_that_is_no_number_is_no_rank():
    with pytest.raises(AssertionError, match="a score is NaN"):
        ranks(torch.tensor([[torch.nan, 1.0]]), torch.tensor([0]))


def test_seen_items_are_the_users_earlier_ones():
    world = checkerboard()
    validation = Validation.of(Events.of(world), world, fit(world), torch.device("cpu"))
    rows = world.rows(Split.VALIDATION)
    catalogue = world.catalogue_at(world.bounds.train_end)["item_id"].to_pylist()
    user, item = world.interactions["user_id"].to_pylist(), world.interactions["item_id"].to_pylist()
    for event in (0, len(rows) - 1):
        expected = {item[r] for r in range(rows[event]) if user[r] == user[rows[event]]}
        assert {catalogue[i] for i in validation.seen[validation.event == event]} == expected
        assert catalogue[validation.target[event]] == item[rows[event]]
    assert np.array_equal(validation.event, np.sort(validation.event))


def test_an_event_of_weight_0_is_not_an_event_to_rank():
    world = checkerboard()
    rows = world.rows(Split.VALIDATION)
    ignored = set(rows[::2].tolist())
    halved = weighted(world, [0.0 if row in ignored else 2.0 for row in range(len(world.interactions))])
    assert np.array_equal(Events.of(halved).seconds, world.seconds[rows[1::2]])
