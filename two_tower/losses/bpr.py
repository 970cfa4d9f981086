"""The positive ranked above each negative."""

from torch import Tensor
from torch.nn import functional

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def bpr(
    scores: Tensor, positive: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """The mean of -log σ(s(positive) - s(negative)) over the user's negatives.

    scores: [batch, negatives]; s is a score over the temperature. positive: [batch], of each user's own item.
    log_weight: [negatives], the logarithms of the negatives' relative weights.
    mask: [batch, negatives], True where one is no negative of the user. weight: [batch], of each positive.

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    """
    behind = functional.softplus((scores - positive.unsqueeze(1)) / temperature)  # [batch, negatives]
    return weighted_mean(mean_of_negatives(behind, mask, log_weight), weight)
