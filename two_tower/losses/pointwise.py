"""Binary cross-entropy of each pair: it is a positive, or it is not."""

from torch import Tensor
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import weighted_mean


@LOSSES.register("pointwise")
class Pointwise:
    """-log σ(s) of the positive plus the mean of -log(1 - σ(s)) over the user's negatives; s is score / temperature.

    Source: He et al., "Neural Collaborative Filtering", WWW 2017.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.temperature = config.temperature

    def __call__(self, inputs: LossInputs) -> Tensor:
        logits = inputs.scores / self.temperature
        positive = functional.softplus(-inputs.positive / self.temperature)
        negative = mean_of_negatives(functional.softplus(logits), inputs.mask, inputs.log_weight)
        return weighted_mean(positive + negative, inputs.weight)
