"""Triplet loss: the positive is closer than a negative, by a margin."""

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import distance, weighted_mean


@LOSSES.register("triplet")
class Triplet:
    """The mean of max(0, d(positive) - d(negative) + margin) over triplets; d is `distance` of the score.

    The setting `mining` selects the negatives. `random` takes the mean over all negatives, which is the expected value
    for a random one. `hard` takes the closest negative. `semi_hard` takes the closest of the negatives that are farther
    away than the positive; if there are none, the farthest negative.

    Source: Weinberger and Saul, "Distance Metric Learning for Large Margin Nearest Neighbor Classification", JMLR 2009;
    mining: Schroff et al., "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.margin, self.mining, self.similarity = config.margin, config.mining, config.similarity

    def __call__(self, inputs: LossInputs) -> Tensor:
        _, _, log_weight, mask, weight, *_ = inputs
        positive = distance(inputs.positive, self.similarity).unsqueeze(1)  # [batch, 1]
        distances = distance(inputs.scores, self.similarity)
        if self.mining == "random":
            violations = (positive - distances + self.margin).clamp(min=0)
            return weighted_mean(mean_of_negatives(violations, mask, log_weight), weight)
        excluded = mask | (log_weight == float("-inf"))
        column = _closest(distances, excluded, positive if self.mining == "semi_hard" else None)
        violation = (positive - distances.gather(1, column) + self.margin).clamp(min=0).squeeze(1)
        return weighted_mean(violation.masked_fill(excluded.all(dim=1), 0.0), weight)


@torch.no_grad()
def _closest(distances: Tensor, excluded: Tensor, farther_than: Tensor | None) -> Tensor:
    """Return the column of each user's closest negative, [batch, 1]; with `farther_than`, of the semi-hard one."""
    if farther_than is None:
        return distances.masked_fill(excluded, float("inf")).argmin(dim=1, keepdim=True)
    too_close = excluded | (distances <= farther_than)
    farthest = distances.masked_fill(excluded, float("-inf")).argmax(dim=1, keepdim=True)
    closest = distances.masked_fill(too_close, float("inf")).argmin(dim=1, keepdim=True)
    return torch.where(too_close.all(dim=1, keepdim=True), farthest, closest)
