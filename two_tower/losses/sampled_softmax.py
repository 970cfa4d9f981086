"""Softmax over the positive and the negatives at hand, corrected for how often each negative is drawn."""

import math

from torch import Tensor
from torch.nn import functional

from two_tower.losses.similarity import weighted_mean


def sampled_softmax(scores: Tensor, log_q: Tensor, mask: Tensor, weight: Tensor, temperature: float) -> Tensor:
    """The mean cross-entropy of each user's positive among the candidates.

    scores: [batch, candidates], candidate i < batch is the positive of user i.
    log_q: [candidates], the logarithm of how likely one draw of the sampler is to give each. A negative stands for
        1 / (draws · Q) items of the catalogue, and so the loss estimates that of the softmax over all of it. The
        positive is no draw, and stands for itself.
    mask: [batch, candidates], True where a candidate is no negative of the user (the positive itself included).
    weight: [batch], of each positive.

    Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model",
    IEEE TNN 2008. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys
    2019, correct the positive's logit too, which overrates popular items; that it must stay as it is, is shown by
    Khrylchenko et al., "Correcting the LogQ Correction", RecSys 2025.
    """
    logits = scores / temperature
    draws = max(scores.shape[1] - 1, 1)
    negatives = (logits - log_q - math.log(draws)).masked_fill(mask, float("-inf")).logsumexp(dim=1)
    # -log(e^p / (e^p + Σ e^n)) = softplus(log Σ e^n - p), which is 0 where every negative is masked
    return weighted_mean(functional.softplus(negatives - logits.diagonal()), weight)
