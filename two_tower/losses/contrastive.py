"""Positive pairs close, unrelated pairs at least a margin apart."""

from torch import Tensor

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def contrastive(
    distances: Tensor, target: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, margin: float
) -> Tensor:
    """d² of each positive pair plus the mean of max(0, margin - d)² over its unrelated pairs.

    distances: [batch, candidates] of at least 0. target: [batch], the column of each user's positive.
    log_weight: [candidates], the logarithms of the negatives' relative weights.
    mask: [batch, candidates], True where a candidate is no negative of the user. weight: [batch], of each positive.

    Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """
    positive = distances.gather(1, target.unsqueeze(1)).squeeze(1).square()
    negatives = (margin - distances).clamp(min=0).square()
    return weighted_mean(positive + mean_of_negatives(negatives, mask, log_weight), weight)
