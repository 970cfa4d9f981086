"""Joint losses of both towers: pure functions of a batch's embeddings, a file each."""

from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.errors import unknown
from two_tower.losses.bpr import bpr
from two_tower.losses.contrastive import contrastive
from two_tower.losses.cosine_contrastive import cosine_contrastive
from two_tower.losses.info_nce import info_nce
from two_tower.losses.pointwise import pointwise
from two_tower.losses.sampled_softmax import sampled_softmax
from two_tower.losses.similarity import distance, similarity
from two_tower.losses.triplet import triplet

OF_SCORES = {"sampled_softmax": sampled_softmax, "info_nce": info_nce, "pointwise": pointwise, "bpr": bpr}
LOSSES = (*OF_SCORES, "cosine_contrastive", "contrastive", "triplet")


def joint_loss(
    user: Tensor, item: Tensor, target: Tensor, log_weight: Tensor, mask: Tensor, weight: Tensor, config: TrainConfig
) -> Tensor:
    """The loss that the configuration names, under the similarity that it names.

    user: [batch, dim]; item: [candidates, dim]. target: [batch], the candidate that is each user's positive.
    log_weight: [candidates], the logarithm of how many items of the catalogue a candidate stands for as a negative;
        minus infinity for one that is none. Margin losses ask for random unrelated pairs, while popular items are drawn
        more often: so weighed, every item counts alike.
    mask: [batch, candidates], True where a candidate is no negative of the user (the positive itself included).
    weight: [batch], of each positive.
    """
    scores = similarity(user, item, config.similarity)
    given = (target, log_weight, mask, weight)
    if config.loss in OF_SCORES:
        return OF_SCORES[config.loss](scores, *given, config.temperature)
    match config.loss:
        case "cosine_contrastive":
            return cosine_contrastive(scores, *given, config.margin, config.negative_weight)
        case "contrastive":
            return contrastive(distance(scores, config.similarity), *given, config.margin)
        case "triplet":
            return triplet(distance(scores, config.similarity), *given, config.margin, config.mining)
        case _:
            raise unknown("loss", config.loss, LOSSES)


__all__ = ["LOSSES", "distance", "joint_loss", "similarity", *LOSSES]
