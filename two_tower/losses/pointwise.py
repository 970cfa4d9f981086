"""Each pair judged for itself: a positive, or not."""

from torch import Tensor
from torch.nn import functional

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def pointwise(
    scores: Tensor, positive: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """Binary cross-entropy: -log σ(s) of the positive plus the mean of -log(1 - σ(s)) over the user's negatives.

    scores: [batch, negatives]; s is a score over the temperature. positive: [batch], of each user's own item.
    log_weight: [negatives], the logarithms of the negatives' relative weights.
    mask: [batch, negatives], True where one is no negative of the user. weight: [batch], of each positive.

    He et al., "Neural Collaborative Filtering", WWW 2017.
    """
    logits = scores / temperature
    own = functional.softplus(-positive / temperature)
    return weighted_mean(own + mean_of_negatives(functional.softplus(logits), mask, log_weight), weight)
