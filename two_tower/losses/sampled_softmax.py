"""Softmax over the positive and the sampled negatives, corrected for the sampling probability of each negative."""

import torch
from torch import Tensor
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import weighted_mean


@LOSSES.register("sampled_softmax")
class SampledSoftmax:
    """The mean cross-entropy of each user's positive among the negatives, of score / temperature.

    A negative drawn with probability Q in each of n draws stands for 1 / (n · Q) catalogue items. The logarithm of that
    is added to its logit, so the loss estimates the softmax over the whole catalogue. The positive was not drawn and
    stands for itself.

    Source: Bengio and Senécal, "Adaptive Importance Sampling to Accelerate Training of a Neural Probabilistic Language
    Model", IEEE TNN 2008. Yi et al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations",
    RecSys 2019, also correct the logit of the positive, which overestimates popular items; Khrylchenko et al.,
    "Correcting the LogQ Correction", RecSys 2025, show that it must stay unchanged.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.temperature = config.temperature

    def __call__(self, inputs: LossInputs) -> Tensor:
        scores, positive, log_weight, mask, weight, *_ = inputs
        return weighted_mean(cross_entropy(scores, positive, log_weight, mask, self.temperature), weight)


def cross_entropy(scores: Tensor, positive: Tensor, log_weight: Tensor, mask: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy of each positive among its negatives.

    Args:
        scores: (batch, negatives) float32.
        positive: (batch,) float32.
        log_weight: (negatives,) float32, added to the logits of the negatives.
        mask: (batch, negatives) bool, True where a negative is ignored.
        temperature: Divides all scores.

    Returns:
        (batch,) float32.
    """
    # In one pass. Inductor of torch 2.13 would fuse an add with alpha and a product into addmm, and drop alpha.
    negatives = torch.addcdiv(log_weight, scores, scores.new_full((), temperature)).masked_fill_(mask, float("-inf"))
    logits = torch.cat([positive.unsqueeze(1) / temperature, negatives], dim=1)
    first = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    return functional.cross_entropy(logits, first, reduction="none")
