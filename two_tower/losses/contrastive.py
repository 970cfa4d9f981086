"""Positive pairs close, unrelated pairs at least a margin apart."""

from torch import Tensor

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def contrastive(
    distances: Tensor, positive: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, margin: float
) -> Tensor:
    """d² of each positive pair plus the mean of max(0, margin - d)² over its unrelated pairs.

    distances: [batch, negatives] of at least 0. positive: [batch], of each user's own item.
    log_weight: [negatives], the logarithms of the negatives' relative weights.
    mask: [batch, negatives], True where one is no negative of the user. weight: [batch], of each positive.

    Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """
    negatives = (margin - distances).clamp(min=0).square()
    return weighted_mean(positive.square() + mean_of_negatives(negatives, mask, log_weight), weight)
