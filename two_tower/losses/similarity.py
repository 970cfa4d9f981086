"""Similarity of user and item embeddings: the score that ranks items, and the distance that margin losses use."""

import torch
from torch import Tensor
from torch.nn import functional

from two_tower.errors import unknown

SIMILARITIES = ("cosine", "dot", "euclidean")


def similarity(user: Tensor, item: Tensor, name: str) -> Tensor:
    """Score every user with every item; a higher score means more similar.

    Args:
        user: (batch, dim) float32.
        item: (items, dim) float32.
        name: `cosine` of the angle, `dot` product, or `euclidean` for the negative Euclidean distance.

    Returns:
        (batch, items) float32.

    Raises:
        InputError: The name is unknown.
    """
    match name:
        case "cosine":
            return functional.normalize(user, dim=1) @ functional.normalize(item, dim=1).T
        case "dot":
            return user @ item.T
        case "euclidean":
            squared = user.square().sum(1, keepdim=True) - 2 * user @ item.T + item.square().sum(1)
            return -(squared.clamp(min=0) + 1e-12).sqrt()  # the root has no gradient at zero
        case _:
            raise unknown("similarity", name, SIMILARITIES)


def paired(user: Tensor, item: Tensor, name: str) -> Tensor:
    """Score each user with the item of the same row.

    Args:
        user: (batch, dim) float32.
        item: (batch, dim) float32.
        name: One of `SIMILARITIES`.

    Returns:
        (batch,) float32.

    Raises:
        InputError: The name is unknown.
    """
    match name:
        case "cosine":
            return (functional.normalize(user, dim=1) * functional.normalize(item, dim=1)).sum(dim=1)
        case "dot":
            return (user * item).sum(dim=1)
        case "euclidean":
            return -((user - item).square().sum(dim=1) + 1e-12).sqrt()
        case _:
            raise unknown("similarity", name, SIMILARITIES)


def distance(scores: Tensor, name: str) -> Tensor:
    """Turn scores into distances of at least 0 that decrease as the score increases.

    The dot product is unbounded and has no distance of its own, so softplus(-score) is used.

    Args:
        scores: float32 of any shape.
        name: One of `SIMILARITIES`.

    Returns:
        float32 of the same shape.

    Raises:
        InputError: The name is unknown.
    """
    match name:
        case "cosine":
            return 1 - scores
        case "dot":
            return functional.softplus(-scores)
        case "euclidean":
            return -scores
        case _:
            raise unknown("similarity", name, SIMILARITIES)


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean, a scalar; 0 where all weights are 0.

    Args:
        values: (batch,) float32.
        weight: (batch,) float32 of at least 0.
    """
    return (values * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
