"""Softmax in both directions: each user's item among the items, and each item's user among the users."""

import torch
from torch import Tensor

from two_tower.losses.sampled_softmax import sampled_softmax


def info_nce(
    scores: Tensor,
    positive: Tensor,
    log_weight: Tensor,
    mask: Tensor,
    weight: Tensor,
    temperature: float,
    others: Tensor,
    others_mask: Tensor,
) -> Tensor:
    """The mean of two cross-entropies; arguments as of `sampled_softmax`, which the first of them is.

    others: [batch, users], scores of every user (columns) with the item of each positive (rows). others_mask: True
        where the user took that item, and so is no negative of it.

    Van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; in both directions: Radford
    et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """
    even = torch.zeros(others.shape[1], dtype=log_weight.dtype, device=log_weight.device)
    of_users = sampled_softmax(scores, positive, log_weight, mask, weight, temperature)
    of_items = sampled_softmax(others, positive, even, others_mask, weight, temperature)
    return (of_users + of_items) / 2
