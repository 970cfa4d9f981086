"""Joint losses of both towers: pure functions of a batch's embeddings, a file each."""

from torch import Tensor
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.errors import unknown
from two_tower.losses.bpr import bpr
from two_tower.losses.contrastive import contrastive
from two_tower.losses.cosine_contrastive import cosine_contrastive
from two_tower.losses.info_nce import info_nce
from two_tower.losses.pointwise import pointwise
from two_tower.losses.sampled_softmax import sampled_softmax
from two_tower.losses.similarity import distance, paired, similarity
from two_tower.losses.triplet import triplet

OF_SCORES = {"sampled_softmax": sampled_softmax, "pointwise": pointwise, "bpr": bpr}
LOSSES = (*OF_SCORES, "info_nce", "cosine_contrastive", "contrastive", "triplet")


def joint_loss(
    user: Tensor,
    item: Tensor,
    target: Tensor,
    log_weight: Tensor,
    mask: Tensor,
    weight: Tensor,
    config: TrainConfig,
    own: Tensor | None = None,
    users: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The loss that the configuration names, under the similarity that it names.

    user: [batch, dim]; item: [items, dim], of which the last `negatives` are negatives. Under the cosine of any length.
    target: [batch], the item that is each user's positive.
    log_weight: [negatives], the logarithm of how many items of the catalogue each stands for. Margin losses ask for
        random unrelated pairs, while popular items are drawn more often: so weighed, every item counts alike.
    mask: [batch, negatives], True where one is no negative of the user. weight: [batch], of each positive.
    own: [batch, negatives], the items that are each user's negatives, where these are not the last for all users.
    users: embeddings of the users that items are told from, [users, dim], and whether each took the item of each
        positive, [batch, users]; for info_nce where they are more than `user`, or where `mask` does not tell it.
    """
    name: str = config.similarity
    if name == "cosine":  # of length one they have their products as cosines, here once for all
        user, item, name = functional.normalize(user, dim=1), functional.normalize(item, dim=1), "dot"
    taken = item.index_select(0, target)
    positive = paired(user, taken, name)
    if own is None:
        scores = similarity(user, item[len(item) - len(log_weight) :], name)
    else:
        negatives = item.index_select(0, own.T.flatten())  # by negative, then user
        scores = paired(user.repeat(own.shape[1], 1), negatives, name).view(own.T.shape).T
    given = (log_weight, mask, weight)
    if config.loss in OF_SCORES:
        return OF_SCORES[config.loss](scores, positive, *given, config.temperature)
    match config.loss:
        case "info_nce":
            everyone, takers = (user, _takers(target, mask, len(item))) if users is None else users
            others = similarity(taken, everyone, config.similarity)
            return info_nce(scores, positive, *given, config.temperature, others, takers)
        case "cosine_contrastive":
            return cosine_contrastive(scores, positive, *given, config.margin, config.negative_weight)
    near, far = distance(positive, config.similarity), distance(scores, config.similarity)
    match config.loss:
        case "contrastive":
            return contrastive(far, near, *given, config.margin)
        case "triplet":
            return triplet(far, near, *given, config.margin, config.mining)
        case _:
            raise unknown("loss", config.loss, LOSSES)


def _takers(target: Tensor, mask: Tensor, items: int) -> Tensor:
    """Whether a user (columns) took the item of each positive (rows), as far as the mask says: [batch, batch]."""
    same = target.unsqueeze(1) == target
    column = target - (items - mask.shape[1])
    known = mask.index_select(1, column.clamp(min=0)).T
    return same | (known & (column >= 0).unsqueeze(1))


__all__ = ["LOSSES", "distance", "joint_loss", "paired", "similarity", *LOSSES]
