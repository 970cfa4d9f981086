"""Bayesian personalized ranking: the positive scores higher than each negative."""

from torch import Tensor
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import weighted_mean


@LOSSES.register("bpr")
class BPR:
    """The mean of -log σ(s(positive) - s(negative)) over the user's negatives, where s is score / temperature.

    Source: Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.temperature = config.temperature

    def __call__(self, inputs: LossInputs) -> Tensor:
        difference = (inputs.scores - inputs.positive.unsqueeze(1)) / self.temperature  # [batch, negatives]
        values = mean_of_negatives(functional.softplus(difference), inputs.mask, inputs.log_weight)
        return weighted_mean(values, inputs.weight)
