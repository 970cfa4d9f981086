"""What losses that weigh each negative by itself share."""

import torch
from torch import Tensor


def mean_of_negatives(values: Tensor, mask: Tensor, log_weight: Tensor) -> Tensor:
    """The mean of each user's [batch, candidates] values over the negatives, [batch]; 0 for a user without any.

    mask: [batch, candidates], True where a candidate is no negative. log_weight: [candidates], the logarithms of their
    relative weights.
    """
    share = (log_weight - log_weight.max()).exp().to(values.dtype)
    total = mask.logical_not().to(share.dtype) @ share  # products with a vector take one pass over the matrix
    return values.masked_fill(mask, 0.0) @ share / total.clamp(min=torch.finfo(share.dtype).tiny)
