"""Contrastive loss: positive pairs close together, unrelated pairs at least a margin apart."""

from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import distance, weighted_mean


@LOSSES.register("contrastive")
class Contrastive:
    """d² of each positive pair plus the mean of max(0, margin - d)² over its negatives; d is `distance` of the score.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.margin, self.similarity = config.margin, config.similarity

    def __call__(self, inputs: LossInputs) -> Tensor:
        positive = distance(inputs.positive, self.similarity)
        negatives = (self.margin - distance(inputs.scores, self.similarity)).clamp(min=0).square()
        values = positive.square() + mean_of_negatives(negatives, inputs.mask, inputs.log_weight)
        return weighted_mean(values, inputs.weight)
