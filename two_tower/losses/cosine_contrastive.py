"""The cosine contrastive loss of SimpleX: only negatives closer than a margin are pushed away."""

from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import weighted_mean


@LOSSES.register("cosine_contrastive")
class CosineContrastive:
    """1 - s(positive) plus `negative_weight` times the mean of max(0, s(negative) - margin); s is the cosine.

    Source: Mao et al., "SimpleX: A Simple and Strong Baseline for Collaborative Filtering", CIKM 2021.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.margin, self.negative_weight = config.margin, config.negative_weight

    def __call__(self, inputs: LossInputs) -> Tensor:
        violations = (inputs.scores - self.margin).clamp(min=0)
        negative = mean_of_negatives(violations, inputs.mask, inputs.log_weight)
        return weighted_mean(1 - inputs.positive + self.negative_weight * negative, inputs.weight)
