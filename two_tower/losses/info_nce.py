"""Softmax in both directions: each user's item among the items, and each item's user among the users."""

import torch
from torch import Tensor
from torch.nn import functional

from two_tower.losses.sampled_softmax import sampled_softmax
from two_tower.losses.similarity import weighted_mean


def info_nce(
    scores: Tensor, target: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, temperature: float
) -> Tensor:
    """The mean of two cross-entropies; arguments as of `sampled_softmax`, which the first of them is.

    In the second, the users of the batch compete for each positive's item, but for those to whom it is no negative.

    Van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; in both directions: Radford
    et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    logits = scores / temperature
    others = logits.masked_fill(mask, float("-inf"))
    # A column all of whose users are masked has no gradient to give; the finite floor keeps it from being NaN.
    rivals = torch.where(mask.all(dim=0), 0.0, others).logsumexp(dim=0).masked_fill(mask.all(dim=0), float("-inf"))
    positive = logits.gather(1, target.unsqueeze(1)).squeeze(1)
    of_items = weighted_mean(functional.softplus(rivals[target] - positive), weight)
    return (sampled_softmax(scores, target, log_weight, mask, weight, temperature) + of_items) / 2
