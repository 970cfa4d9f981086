"""Each loss against its textbook formula, written out pair by pair."""

import math

import pytest
import torch

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.losses import contrastive, distance, joint_loss, sampled_softmax, similarity, triplet

SIMILARITIES = ("cosine", "dot", "euclidean")


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


MASK = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]).bool()
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
LOG_Q = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64).log()


def test_similarities_of_known_vectors():
    user, item = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0], [0.0, 0.0]])
    assert similarity(user, item, "cosine")[0, 0].item() == pytest.approx(24 / 25)
    assert similarity(user, item, "dot").tolist() == [[24.0, 0.0]]
    assert similarity(user, item, "euclidean")[0].tolist() == pytest.approx([-math.sqrt(2), -5.0])


@pytest.mark.parametrize("name", SIMILARITIES)
def test_distance_falls_as_similarity_rises(name):
    scores = similarity(random(5, 3), random(7, 3, seed=1), name).flatten().sort().values
    distances = distance(scores, name)
    assert (distances >= 0).all() and (distances.diff() < 0).all()


def test_an_unknown_similarity_is_named():
    with pytest.raises(InputError, match=r"cosin.*Did you mean 'cosine'"):
        similarity(random(1, 2), random(1, 2), "cosin")


def test_sampled_softmax_is_the_cross_entropy_of_corrected_logits():
    scores, expected = random(4, 4), 0.0
    for u in range(4):
        logit = scores[u] / 0.3
        negatives = [math.exp(logit[i] - LOG_Q[i]) / 3 for i in range(4) if not MASK[u, i]]  # 3 draws
        expected += WEIGHT[u].item() * (math.log(math.exp(logit[u]) + sum(negatives)) - logit[u].item())
    loss = sampled_softmax(scores, LOG_Q, MASK, WEIGHT, 0.3)
    assert loss.item() == pytest.approx(expected / WEIGHT.sum().item())


def test_contrastive_is_hadsells_formula():
    distances, expected = random(4, 4).abs(), 0.0
    for u in range(4):
        unrelated = [i for i in range(4) if not MASK[u, i]]
        shares = [1 / math.exp(LOG_Q[i].item()) for i in unrelated]
        pushes = [max(0.0, 0.9 - distances[u, i].item()) ** 2 for i in unrelated]
        apart = sum(s * p for s, p in zip(shares, pushes, strict=True)) / sum(shares)
        expected += WEIGHT[u].item() * (distances[u, u].item() ** 2 + apart)
    loss = contrastive(distances, MASK, (-LOG_Q).exp(), WEIGHT, 0.9)
    assert loss.item() == pytest.approx(expected / WEIGHT.sum().item())


def test_triplet_is_the_mean_hinge_over_triplets():
    distances, expected = random(4, 4).abs(), 0.0
    for u in range(4):
        unrelated = [i for i in range(4) if not MASK[u, i]]
        hinges = [max(0.0, (distances[u, u] - distances[u, i]).item() + 0.2) for i in unrelated]
        expected += WEIGHT[u].item() * sum(hinges) / len(hinges)
    loss = triplet(distances, MASK, torch.ones(4), WEIGHT, 0.2)
    assert loss.item() == pytest.approx(expected / WEIGHT.sum().item())


@pytest.mark.parametrize("name", SIMILARITIES)
@pytest.mark.parametrize("loss", ["sampled_softmax", "contrastive", "triplet"])
def test_gradients_equal_finite_differences(loss, name):
    config = TrainConfig(loss=loss, similarity=name, temperature=0.5)
    user, item = random(4, 3).requires_grad_(), random(4, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, i: joint_loss(u, i, LOG_Q, MASK, WEIGHT, config), (user, item))


@pytest.mark.parametrize("loss", ["sampled_softmax", "contrastive", "triplet"])
def test_a_masked_item_moves_nothing(loss):
    """An accidental hit, one more positive of the user in the batch, is no negative."""
    config = TrainConfig(loss=loss, similarity="dot", margin=5.0)
    item = random(3, 2).requires_grad_()
    mask = torch.eye(3).bool()
    mask[0, 2] = True
    only_first = torch.tensor([1.0, 0.0, 0.0])
    joint_loss(random(3, 2, seed=1), item, torch.zeros(3), mask, only_first, config).backward()
    assert item.grad[2].abs().sum() == 0 and item.grad[1].abs().sum() > 0


@pytest.mark.parametrize("loss", ["sampled_softmax", "contrastive", "triplet"])
def test_a_row_without_negatives_has_a_finite_gradient(loss):
    user = random(2, 3).requires_grad_()
    joint_loss(
        user, random(2, 3), torch.zeros(2), torch.ones(2, 2).bool(), torch.ones(2), TrainConfig(loss=loss)
    ).backward()
    assert user.grad.isfinite().all()


def test_the_logq_correction_points_towards_the_full_softmax():
    """Free logits trained on a skewed sampler's batches find the true probabilities with it, and others without."""
    truth = torch.tensor([0.5, 0.3, 0.15, 0.05])

    def learned(log_q: torch.Tensor) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        logits = torch.zeros(4, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.02)
        for _ in range(600):
            drawn = torch.multinomial(truth, 256, replacement=True, generator=random)
            scores = logits[drawn].expand(256, 256)
            mask = drawn.unsqueeze(1) == drawn
            loss = sampled_softmax(scores, log_q[drawn], mask, torch.ones(256), 1.0)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return logits.detach().softmax(dim=0)

    assert (learned(truth.log()) - truth).abs().max() < 0.03
    assert (learned(torch.zeros(4)) - truth).abs().max() > 0.1
