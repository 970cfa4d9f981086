"""Positives drawn to one, and only those negatives pushed that are nearer than a margin."""

from torch import Tensor

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def cosine_contrastive(
    scores: Tensor,
    positive: Tensor,
    log_weight: Tensor,
    mask: Tensor,
    weight: Tensor,
    margin: float,
    negative_weight: float,
) -> Tensor:
    """1 - s(positive) plus `negative_weight` times the mean of max(0, s(negative) - margin).

    scores: [batch, negatives] of at most 1, such as cosines. positive: [batch], of each user's own item.
    log_weight: [negatives], the logarithms of the negatives' relative weights.
    mask: [batch, negatives], True where one is no negative of the user. weight: [batch], of each positive.

    Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM 2021.
    """
    near = mean_of_negatives((scores - margin).clamp(min=0), mask, log_weight)
    return weighted_mean(1 - positive + negative_weight * near, weight)
