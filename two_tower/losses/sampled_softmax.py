"""Softmax over the positive and the negatives at hand, corrected for how often each negative is drawn."""

import torch
from torch import Tensor
from torch.nn import functional

from two_tower.losses.similarity import weighted_mean


def sampled_softmax(
    scores: Tensor, target: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """The mean cross-entropy of each user's positive among the candidates.

    scores: [batch, candidates]. target: [batch], the column of each user's positive.
    log_weight: [candidates], the logarithm of how many items of the catalogue a candidate stands for as a negative: one
        drawn with the probability Q in each of n draws stands for 1 / (n · Q), and so the loss estimates that of the
        softmax over all of it. The positive is no draw, and stands for itself.
    mask: [batch, candidates], True where a candidate is no negative of the user (the positive itself included).
    weight: [batch], of each positive.

    Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model",
    IEEE TNN 2008. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys
    2019, correct the positive's logit too, which overrates popular items; that it must stay as it is, is shown by
    Khrylchenko et al., "Correcting the LogQ Correction", RecSys 2025.
    """
    column = target.unsqueeze(1)
    logits = torch.add(log_weight, scores, alpha=1 / temperature).masked_fill_(mask, float("-inf"))
    logits = logits.scatter(1, column, scores.gather(1, column) / temperature)
    return weighted_mean(functional.cross_entropy(logits, target, reduction="none"), weight)
