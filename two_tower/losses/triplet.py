"""The positive nearer than each negative, by a margin."""

from torch import Tensor

from two_tower.losses.contrastive import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def triplet(distances: Tensor, mask: Tensor, share: Tensor, weight: Tensor, margin: float) -> Tensor:
    """The mean of max(0, d(positive) - d(negative) + margin) over all triplets of a user.

    distances: [batch, candidates], candidate i < batch is the positive of user i.
    mask: [batch, candidates], True where a candidate is no negative of the user.
    share: [candidates], relative weights of the negatives.
    weight: [batch], of each positive.

    Weinberger and Saul, "Distance Metric Learning for Large Margin Nearest Neighbor Classification", JMLR 2009;
    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015.
    """
    violations = (distances.diagonal().unsqueeze(1) - distances + margin).clamp(min=0)  # [batch, candidates]
    return weighted_mean(mean_of_negatives(violations, mask, share), weight)
