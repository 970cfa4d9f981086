"""Softmax over the positive and the negatives at hand, corrected for how often each negative is drawn."""

import torch
from torch import Tensor
from torch.nn import functional

from two_tower.losses.similarity import weighted_mean


def sampled_softmax(
    scores: Tensor, positive: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """The mean cross-entropy of each user's positive among the negatives.

    scores: [batch, negatives]. positive: [batch], of each user's own item.
    log_weight: [negatives], the logarithm of how many items of the catalogue a negative stands for: one
        drawn with the probability Q in each of n draws stands for 1 / (n · Q), and so the loss estimates that of the
        softmax over all of it. The positive is no draw, and stands for itself.
    mask: [batch, negatives], True where one is no negative of the user.
    weight: [batch], of each positive.

    Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language Model",
    IEEE TNN 2008. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys
    2019, correct the positive's logit too, which overrates popular items; that it must stay as it is, is shown by
    Khrylchenko et al., "Correcting the LogQ Correction", RecSys 2025.
    """
    # In one pass. Inductor of torch 2.13 would make an add with alpha one of a product (addmm), and forget alpha.
    negatives = torch.addcdiv(log_weight, scores, scores.new_full((), temperature)).masked_fill_(mask, float("-inf"))
    logits = torch.cat([positive.unsqueeze(1) / temperature, negatives], dim=1)
    first = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return weighted_mean(functional.cross_entropy(logits, first, reduction="none"), weight)
