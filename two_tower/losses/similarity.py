"""How alike a user's and an item's embedding are: the score that ranks, and the distance that margin losses measure."""

import torch
from torch import Tensor
from torch.nn import functional

from two_tower.errors import unknown

SIMILARITIES = ("cosine", "dot", "euclidean")


def similarity(user: Tensor, item: Tensor, name: str) -> Tensor:
    """Scores of every user with every item; larger is nearer.

    user: [batch, dim]; item: [items, dim]. Returns [batch, items] float32: the cosine of the angle, the dot product, or
    the negative Euclidean distance.
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
    """The scores of each user with the item of the same row, [batch]; user and item: [batch, dim]."""
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
    """Distances of at least 0 that fall as the score rises, of the same shape.

    The dot product has no bound, and so no distance of its own: softplus(-score) takes its place.
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
    """The mean of [batch] values under [batch] weights of at least 0; 0 where all weights are 0."""
    return (values * weight).sum() / weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
