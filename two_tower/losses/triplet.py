"""The positive nearer than a negative, by a margin."""

from typing import Literal

import torch
from torch import Tensor

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean

Mining = Literal["random", "semi_hard", "hard"]


def triplet(
    distances: Tensor,
    positive: Tensor,
    log_weight: Tensor,
    mask: Tensor,
    weight: Tensor,
    margin: float,
    mining: Mining = "random",
) -> Tensor:
    """The mean of max(0, d(positive) - d(negative) + margin) over triplets.

    distances: [batch, negatives]. positive: [batch], of each user's own item.
    log_weight: [negatives], the logarithms of the negatives' relative weights.
    mask: [batch, negatives], True where one is no negative of the user. weight: [batch], of each positive.
    mining: `random` takes the mean over all negatives, which is what a random one costs on the average; `hard` the
        nearest negative; `semi_hard` the nearest of those farther than the positive, or, without any, the farthest.

    Weinberger and Saul, "Distance Metric Learning for Large Margin Nearest Neighbor Classification", JMLR 2009; mining:
    Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015.
    """
    positive = positive.unsqueeze(1)  # [batch, 1]
    if mining == "random":
        violations = (positive - distances + margin).clamp(min=0)
        return weighted_mean(mean_of_negatives(violations, mask, log_weight), weight)
    excluded = mask | (log_weight == float("-inf"))
    chosen = _nearest(distances, excluded, positive if mining == "semi_hard" else None)  # [batch, 1]
    violation = (positive - distances.gather(1, chosen) + margin).clamp(min=0).squeeze(1)
    return weighted_mean(violation.masked_fill(excluded.all(dim=1), 0.0), weight)


@torch.no_grad()
def _nearest(distances: Tensor, excluded: Tensor, beyond: Tensor | None) -> Tensor:
    """The column of each user's nearest negative, [batch, 1]; farther than `beyond`, where one is."""
    if beyond is None:
        return distances.masked_fill(excluded, float("inf")).argmin(dim=1, keepdim=True)
    nearer = excluded | (distances <= beyond)
    farthest = distances.masked_fill(excluded, float("-inf")).argmax(dim=1, keepdim=True)
    nearest = distances.masked_fill(nearer, float("inf")).argmin(dim=1, keepdim=True)
    return torch.where(nearer.all(dim=1, keepdim=True), farthest, nearest)
