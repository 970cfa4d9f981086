"""Positive pairs close, unrelated pairs at least a margin apart."""

from torch import Tensor

from two_tower.losses.similarity import weighted_mean


def contrastive(distances: Tensor, mask: Tensor, share: Tensor, weight: Tensor, margin: float) -> Tensor:
    """d² of each positive pair plus the mean of max(0, margin - d)² over its unrelated pairs.

    distances: [batch, candidates] of at least 0, candidate i < batch is the positive of user i.
    mask: [batch, candidates], True where a candidate is no negative of the user.
    share: [candidates], relative weights of the negatives.
    weight: [batch], of each positive.

    Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """
    positive = distances.diagonal().square()
    negatives = (margin - distances).clamp(min=0).square()
    return weighted_mean(positive + mean_of_negatives(negatives, mask, share), weight)


def mean_of_negatives(values: Tensor, mask: Tensor, share: Tensor) -> Tensor:
    """The mean of each user's [batch, candidates] values over the negatives, [batch]; 0 for a user without any."""
    shares = share.expand_as(values).masked_fill(mask, 0.0)
    return (values * shares).sum(dim=1) / shares.sum(dim=1).clamp(min=1e-12)
