"""The weighted mean over negatives, for losses that treat each negative on its own."""

import torch
from torch import Tensor


def mean_of_negatives(values: Tensor, mask: Tensor, log_weight: Tensor) -> Tensor:
    """Return the weighted mean over each user's negatives, 0 for a user without negatives.

    Args:
        values: (batch, negatives) float32.
        mask: (batch, negatives) bool, True where a value is ignored.
        log_weight: (negatives,) float32, logarithm of the relative weight of each negative.

    Returns:
        (batch,) float32.
    """
    share = (log_weight - log_weight.max()).exp().to(values.dtype)
    total = mask.logical_not().to(share.dtype) @ share  # products with a vector take one pass over the matrix
    return values.masked_fill(mask, 0.0) @ share / total.clamp(min=torch.finfo(share.dtype).tiny)
