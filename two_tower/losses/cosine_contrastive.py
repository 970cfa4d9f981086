"""Positives drawn to one, and only those negatives pushed that are nearer than a margin."""

from torch import Tensor

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def cosine_contrastive(
    scores: Tensor,
    target: Tensor,
    log_weight: Tensor,
    mask: Tensor,
    weight: Tensor,
    margin: float,
    negative_weight: float,
) -> Tensor:
    """1 - s(positive) plus `negative_weight` times the mean of max(0, s(negative) - margin).

    scores: [batch, candidates] of at most 1, such as cosines. target: [batch], the column of each positive.
    log_weight: [candidates], the logarithms of the negatives' relative weights.
    mask: [batch, candidates], True where a candidate is no negative of the user. weight: [batch], of each positive.

    Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM 2021.
    """
    positive = 1 - scores.gather(1, target.unsqueeze(1)).squeeze(1)
    near = mean_of_negatives((scores - margin).clamp(min=0), mask, log_weight)
    return weighted_mean(positive + negative_weight * near, weight)
