"""The positive ranked above each negative."""

from torch import Tensor
from torch.nn import functional

from two_tower.losses.negatives import mean_of_negatives
from two_tower.losses.similarity import weighted_mean


def bpr(scores: Tensor, target: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """The mean of -log σ(s(positive) - s(negative)) over the user's negatives.

    scores: [batch, candidates]; s is a score over the temperature. target: [batch], the column of each positive.
    log_weight: [candidates], the logarithms of the negatives' relative weights.
    mask: [batch, candidates], True where a candidate is no negative of the user. weight: [batch], of each positive.

    Rendle et al., "BPR: Bayesian Personalized Ranking from Implicit Feedback", UAI 2009.
    """
    logits = scores / temperature
    behind = functional.softplus(logits - logits.gather(1, target.unsqueeze(1)))  # [batch, candidates]
    return weighted_mean(mean_of_negatives(behind, mask, log_weight), weight)
