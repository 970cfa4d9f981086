"""Joint losses of both towers: pure functions of a batch's embeddings."""

from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.errors import unknown
from two_tower.losses.contrastive import contrastive
from two_tower.losses.sampled_softmax import sampled_softmax
from two_tower.losses.similarity import distance, similarity
from two_tower.losses.triplet import triplet

LOSSES = ("sampled_softmax", "contrastive", "triplet")


def joint_loss(user: Tensor, item: Tensor, log_q: Tensor, mask: Tensor, weight: Tensor, config: TrainConfig) -> Tensor:
    """The loss that the configuration names, under the similarity that it names.

    user: [batch, dim]; item: [candidates, dim], candidate i < batch is the positive of user i.
    log_q: [candidates], the logarithm of how likely each is to be drawn.
    mask: [batch, candidates], True where a candidate is no negative of the user (the positive itself included).
    weight: [batch], of each positive.

    Margin losses ask for random unrelated pairs, while popular items are drawn more often: each negative then weighs
    1 / Q, so that every item counts alike.
    """
    scores = similarity(user, item, config.similarity)
    if config.loss == "sampled_softmax":
        return sampled_softmax(scores, log_q, mask, weight, config.temperature)
    distances, share = distance(scores, config.similarity), (log_q.min() - log_q).exp()
    match config.loss:
        case "contrastive":
            return contrastive(distances, mask, share, weight, config.margin)
        case "triplet":
            return triplet(distances, mask, share, weight, config.margin)
        case _:
            raise unknown("loss", config.loss, LOSSES)


__all__ = ["LOSSES", "contrastive", "distance", "joint_loss", "sampled_softmax", "similarity", "triplet"]
