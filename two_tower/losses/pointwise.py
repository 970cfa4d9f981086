"""Each pair judged for itself: a positive, or not."""

from torch import Tensor
from torch.nn import functional

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def pointwise(
    scores: Tensor, target: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """Binary cross-entropy: -log σ(s) of the positive plus the mean of -log(1 - σ(s)) over the user's negatives.

    scores: [batch, candidates]; s is a score over the temperature. target: [batch], the column of each positive.
    log_weight: [candidates], the logarithms of the negatives' relative weights.
    mask: [batch, candidates], True where a candidate is no negative of the user. weight: [batch], of each positive.

    He et al., "Neural Collaborative Filtering", WWW 2017.
    """
    logits = scores / temperature
    positive = functional.softplus(-logits.gather(1, target.unsqueeze(1)).squeeze(1))
    return weighted_mean(positive + mean_of_negatives(functional.softplus(logits), mask, log_weight), weight)
