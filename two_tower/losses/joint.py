"""The loss of a batch of embeddings: score users and items, then apply the configured loss."""

from torch import Tensor
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.losses.protocol import LOSSES, LossInputs
from two_tower.losses.similarity import paired, similarity


class JointLoss:
    """The setting `loss` under the setting `similarity`, computed from the embeddings of both towers."""

    def __init__(self, config: TrainConfig) -> None:
        """Create the loss.

        Raises:
            InputError: The loss is unknown, cannot be imported, or cannot be called with the settings.
        """
        self.loss = LOSSES[config.loss](config)
        self.needs_user_scores: bool = getattr(self.loss, "needs_user_scores", False)
        self.similarity: str = config.similarity

    def __call__(
        self,
        user: Tensor,
        item: Tensor,
        target: Tensor,
        log_weight: Tensor,
        mask: Tensor,
        weight: Tensor,
        own: Tensor | None = None,
        users: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Return the loss, a scalar.

        Args:
            user: (batch, dim) float32; under the cosine, embeddings of any length.
            item: (items, dim) float32. The last `negatives` of them are the negatives, unless `own` is given.
            target: (batch,) int64, row of `item` that is each user's positive.
            log_weight: (negatives,) float32, see `LossInputs`. Margin losses assume random unrelated pairs, while
                popular items are drawn more often; with these weights every item counts equally.
            mask: (batch, negatives) bool, True where an item is not a negative of the user.
            weight: (batch,) float32, weight of each positive.
            own: (batch, negatives) int64, rows of `item` that are each user's negatives, if every user has its own.
            users: Embeddings of the users that items are compared with, (users, dim), and whether each of them
                interacted with the item of each positive, (batch, users). For a loss with `needs_user_scores`, where
                these are more users than `user`, or where `mask` does not hold this. Default: the users of the batch.
        """
        name = self.similarity
        if name == "cosine":  # the products of unit vectors are their cosines; normalise each vector once
            user, item, name = functional.normalize(user, dim=1), functional.normalize(item, dim=1), "dot"
        positive_item = item.index_select(0, target)
        positive = paired(user, positive_item, name)
        if own is None:
            scores = similarity(user, item[len(item) - len(log_weight) :], name)
        else:
            negatives = item.index_select(0, own.T.flatten())  # by negative, then user
            scores = paired(user.repeat(own.shape[1], 1), negatives, name).view(own.T.shape).T
        user_scores = user_mask = None
        if self.needs_user_scores:
            others, user_mask = (user, _interacted(target, mask, len(item))) if users is None else users
            user_scores = similarity(positive_item, others, self.similarity)
        return self.loss(LossInputs(scores, positive, log_weight, mask, weight, user_scores, user_mask))


def _interacted(target: Tensor, mask: Tensor, items: int) -> Tensor:
    """Whether a user (columns) interacted with the item of each positive (rows), as recorded in the mask."""
    same = target.unsqueeze(1) == target
    column = target - (items - mask.shape[1])
    known = mask.index_select(1, column.clamp(min=0)).T
    return same | (known & (column >= 0).unsqueeze(1))
