"""Softmax in both directions: each user's item among the items, and each item's user among the users."""

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.sampled_softmax import cross_entropy
from two_tower.losses.similarity import weighted_mean


@LOSSES.register("info_nce")
class InfoNCE:
    """The mean of two cross-entropies: `SampledSoftmax` over items, and a softmax over the users of the batch.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding", 2018; in both directions:
    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
    """

    needs_user_scores = True

    def __init__(self, config: TrainConfig) -> None:
        self.temperature = config.temperature

    def __call__(self, inputs: LossInputs) -> Tensor:
        scores, positive, log_weight, mask, weight, user_scores, user_mask = inputs
        assert user_scores is not None and user_mask is not None
        equal = torch.zeros(user_scores.shape[1], dtype=log_weight.dtype, device=log_weight.device)
        over_items = weighted_mean(cross_entropy(scores, positive, log_weight, mask, self.temperature), weight)
        over_users = weighted_mean(cross_entropy(user_scores, positive, equal, user_mask, self.temperature), weight)
        return (over_items + over_users) / 2
