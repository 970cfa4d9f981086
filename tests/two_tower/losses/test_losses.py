"""Each loss against its textbook formula, written out pair by pair."""

import math

import pytest
import torch

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.losses import LOSSES, JointLoss, LossInputs, SampledSoftmax, distance, similarity

SIMILARITIES = ("cosine", "dot", "euclidean")
PAIRS = [
    (loss, name)
    for loss in LOSSES
    for name in SIMILARITIES
    if (loss, name == "cosine") != ("cosine_contrastive", False)
]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Four users and five candidates. Users 0 and 2 have one positive; 4 is drawn beside the batch; the weights are of use.
TARGET = torch.tensor([1, 0, 1, 3])
MASK = torch.tensor([[0, 1, 0, 1, 0], [1, 0, 1, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0]]).bool()
WEIGHT = torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
LOG_WEIGHT = torch.tensor([2.0, 1.0, 4.0, 5.0, 10.0], dtype=torch.float64).log()
GIVEN = (TARGET, LOG_WEIGHT, MASK, WEIGHT)


def each(scores: torch.Tensor):
    """Of each user: the positive's value, and the values and weights of the negatives, as numbers."""
    for u in range(4):
        negatives = [i for i in range(5) if not MASK[u, i]]
        yield (
            scores[u, TARGET[u]].item(),
            [scores[u, i].item() for i in negatives],
            [math.exp(LOG_WEIGHT[i]) for i in negatives],
        )


def averaged(values: list[float]) -> float:
    return sum(v * w for v, w in zip(values, WEIGHT.tolist(), strict=True)) / WEIGHT.sum().item()


def mean(values: list[float], weights: list[float]) -> float:
    return sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)


def computed(loss: str, name: str = "dot", **settings) -> tuple[float, torch.Tensor]:
    """The loss of random embeddings, and their scores."""
    user, item = random(4, 3), random(5, 3, seed=1)
    config = TrainConfig(loss=loss, similarity=name, **settings)
    return JointLoss(config)(user, item, *GIVEN).item(), similarity(user, item, name)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


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


@pytest.mark.parametrize(("key", "value"), [("loss", "sampled_softmaks"), ("negatives", "inbatch"), ("mining", "easy")])
def test_an_unknown_name_is_told_with_the_list(key, value):
    with pytest.raises(InputError, match=f"(?s){key}.*{value}.*(in_batch|sampled_softmax|semi_hard)"):
        TrainConfig(**{key: value})


def test_the_cosine_contrastive_loss_asks_for_the_cosine():
    with pytest.raises(InputError, match=r"similarity='dot'.*Allowed: cosine"):
        TrainConfig(loss="cosine_contrastive", similarity="dot")


def test_sampled_softmax_is_the_cross_entropy_among_what_the_candidates_stand_for():
    loss, scores = computed("sampled_softmax", temperature=0.3)
    expected = []
    for positive, negatives, weights in each(scores / 0.3):
        others = sum(w * math.exp(n) for n, w in zip(negatives, weights, strict=True))
        expected.append(math.log(math.exp(positive) + others) - positive)
    assert loss == pytest.approx(averaged(expected))


def test_info_nce_is_the_softmax_in_both_directions():
    loss, scores = computed("info_nce", temperature=0.7)
    of_users, _ = computed("sampled_softmax", temperature=0.7)
    logits, of_items = scores / 0.7, []
    for u in range(4):
        positive, item = logits[u, TARGET[u]].item(), TARGET[u]
        rivals = [logits[v, item].item() for v in range(4) if not MASK[v, item]]
        of_items.append(math.log(math.exp(positive) + sum(map(math.exp, rivals))) - positive)
    assert loss == pytest.approx((of_users + averaged(of_items)) / 2)


def test_info_nce_of_a_square_is_the_symmetric_cross_entropy():
    user, item, diagonal = random(6, 3), random(6, 3, seed=1), torch.arange(6)
    config = TrainConfig(loss="info_nce", similarity="cosine", temperature=0.5)
    even = torch.zeros(6, dtype=torch.float64)
    loss = JointLoss(config)(user, item, diagonal, even, torch.eye(6).bool(), even + 1)
    logits = similarity(user, item, "cosine") / 0.5
    both = torch.nn.functional.cross_entropy(logits, diagonal) + torch.nn.functional.cross_entropy(logits.T, diagonal)
    assert loss.item() == pytest.approx(both.item() / 2)


def test_pointwise_is_the_binary_cross_entropy():
    loss, scores = computed("pointwise", temperature=0.5)
    expected = [
        -math.log(sigmoid(p)) + mean([-math.log(1 - sigmoid(n)) for n in negatives], weights)
        for p, negatives, weights in each(scores / 0.5)
    ]
    assert loss == pytest.approx(averaged(expected))


def test_bpr_is_rendles_formula():
    loss, scores = computed("bpr", temperature=0.5)
    expected = [
        mean([-math.log(sigmoid(p - n)) for n in negatives], weights) for p, negatives, weights in each(scores / 0.5)
    ]
    assert loss == pytest.approx(averaged(expected))


def test_cosine_contrastive_is_simplexs_formula():
    loss, scores = computed("cosine_contrastive", "cosine", margin=0.1, negative_weight=7.0)
    expected = [
        1 - p + 7 * mean([max(0.0, n - 0.1) for n in negatives], weights) for p, negatives, weights in each(scores)
    ]
    assert loss == pytest.approx(averaged(expected))


def test_contrastive_is_hadsells_formula():
    loss, scores = computed("contrastive", "cosine", margin=0.9)
    expected = [
        p**2 + mean([max(0.0, 0.9 - n) ** 2 for n in negatives], weights) for p, negatives, weights in each(1 - scores)
    ]
    assert loss == pytest.approx(averaged(expected))


@pytest.mark.parametrize("mining", ["random", "semi_hard", "hard"])
def test_triplet_is_the_hinge_over_the_triplets_that_mining_names(mining):
    loss, scores = computed("triplet", "euclidean", margin=0.4, mining=mining)
    expected = []
    for positive, negatives, weights in each(-scores):
        hinges = [max(0.0, positive - n + 0.4) for n in negatives]
        farther = [n for n in negatives if n > positive]
        chosen = {"hard": min(negatives), "semi_hard": min(farther) if farther else max(negatives)}
        expected.append(mean(hinges, weights) if mining == "random" else max(0.0, positive - chosen[mining] + 0.4))
    assert loss == pytest.approx(averaged(expected))


@pytest.mark.parametrize(("loss", "name"), PAIRS)
def test_gradients_equal_finite_differences(loss, name):
    config = TrainConfig(loss=loss, similarity=name, temperature=0.5)
    user, item = random(4, 3).requires_grad_(), random(5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda u, i: JointLoss(config)(u, i, *GIVEN), (user, item))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("how", ["masked", "no negative"])
def test_an_accidental_hit_moves_nothing(loss, how):
    """Neither what is masked for the user, nor an item that is there as another's positive alone, the first here."""
    contrastive = loss == "cosine_contrastive"
    config = TrainConfig(loss=loss, similarity="cosine" if contrastive else "dot", margin=0.01 if contrastive else 5.0)
    item = random(3, 2).abs().requires_grad_()
    mask, log_weight = torch.eye(3).bool(), torch.zeros(3)
    if how == "masked":
        mask[2, 0] = True
    else:
        mask, log_weight = mask[:, 1:], log_weight[1:]
    only_last = torch.tensor([0.0, 0.0, 1.0])
    JointLoss(config)(random(3, 2, seed=1).abs(), item, torch.arange(3), log_weight, mask, only_last).backward()
    assert item.grad[0].abs().sum() == 0 and item.grad[1].abs().sum() > 0


@pytest.mark.parametrize("mining", ["random", "semi_hard", "hard"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_row_without_negatives_has_a_finite_gradient(loss, mining):
    user = random(2, 3).requires_grad_()
    config = TrainConfig(loss=loss, mining=mining)
    everything = torch.ones(2, 2).bool()
    JointLoss(config)(user, random(2, 3), torch.arange(2), torch.zeros(2), everything, torch.ones(2)).backward()
    assert user.grad.isfinite().all()


def test_the_logq_correction_points_towards_the_full_softmax():
    """Free logits trained on a skewed sampler's batches find the true probabilities with it, and others without."""
    truth, softmax = torch.tensor([0.5, 0.3, 0.15, 0.05]), SampledSoftmax(TrainConfig(temperature=1.0))

    def learned(log_q: torch.Tensor) -> torch.Tensor:
        random = torch.Generator().manual_seed(0)
        logits = torch.zeros(4, requires_grad=True)
        optimiser = torch.optim.Adam([logits], lr=0.02)
        for _ in range(600):
            drawn = torch.multinomial(truth, 256, replacement=True, generator=random)
            item, target, count = drawn.unique(return_inverse=True, return_counts=True)
            log_weight = count.log() - math.log(255) - log_q[item]
            mask = torch.nn.functional.one_hot(target, len(item)).bool()
            scores = logits[item].expand(256, len(item))
            loss = softmax(LossInputs(scores, logits[drawn], log_weight, mask, torch.ones(256)))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return logits.detach().softmax(dim=0)

    assert (learned(truth.log()) - truth).abs().max() < 0.03
    assert (learned(torch.zeros(4)) - truth).abs().max() > 0.1


def test_the_sampled_loss_is_near_the_full_softmaxs():
    """Whatever the sampler, what the candidates stand for adds up to the catalogue."""
    scores = random(1, 1000)
    full = torch.nn.functional.cross_entropy(scores, torch.tensor([0]))
    q = (random(1000, seed=2) / 2).softmax(dim=0)
    drawn = torch.multinomial(q[1:], 20_000, replacement=True, generator=torch.Generator().manual_seed(0)) + 1
    item, count = torch.cat([torch.tensor([0]), drawn.unique()]), torch.bincount(drawn, minlength=1000)
    log_weight = count[item].log() - math.log(20_000) - (q[item] / q[1:].sum()).log()
    mask = (item == 0).unsqueeze(0)
    inputs = LossInputs(scores[:, item], scores[:, 0], log_weight, mask, torch.ones(1))
    loss = SampledSoftmax(TrainConfig(temperature=1.0))(inputs)
    assert loss.item() == pytest.approx(full.item(), abs=0.02)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_pointwise_of_own_negatives_is_the_binary_cross_entropy_of_each_pair(name):
    user, item = random(4, 3).requires_grad_(), random(5, 3, seed=1).requires_grad_()
    own = torch.tensor([[2, 4], [1, 4], [0, 4], [2, 0]])
    mask = torch.tensor([[0, 0], [0, 1], [1, 1], [0, 0]]).bool()
    config = TrainConfig(loss="pointwise", negatives="own", similarity=name, temperature=0.7)
    loss = JointLoss(config)(user, item, TARGET, torch.zeros(2, dtype=torch.float64), mask, WEIGHT, own)
    logits = (similarity(user, item, name) / 0.7).tolist()
    expected = []
    for u in range(4):
        wrong = [-math.log(1 - sigmoid(logits[u][own[u, n]])) for n in range(2) if not mask[u, n]]
        expected.append(-math.log(sigmoid(logits[u][TARGET[u]])) + (sum(wrong) / len(wrong) if wrong else 0))
    assert loss.item() == pytest.approx(averaged(expected))
    loss.backward()
    assert item.grad[4].abs().sum() > 0 and torch.isfinite(user.grad).all()


@pytest.mark.parametrize("loss", LOSSES)
def test_under_the_cosine_lengths_do_not_matter(loss):
    user, item, config = random(4, 3), random(5, 3, seed=1), TrainConfig(loss=loss, similarity="cosine")
    users = (user, MASK[:, :4]) if loss == "info_nce" else None
    long = (users[0] * 7, users[1]) if users else None
    length = torch.tensor([[0.2], [3.0], [50.0], [1.0], [9.0]], dtype=torch.float64)
    expected = JointLoss(config)(user, item, *GIVEN, None, users)
    found = JointLoss(config)(user * length[:4], item * length, *GIVEN, None, long)
    assert found.item() == pytest.approx(expected.item()) and expected > 0.01


def test_own_negatives_are_for_losses_that_judge_them_one_by_one():
    with pytest.raises(InputError, match=r"loss='sampled_softmax'.*pointwise, bpr or a plug-in, for negatives=own"):
        TrainConfig(negatives="own")
