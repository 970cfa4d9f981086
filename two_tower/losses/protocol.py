"""The inputs and the protocol of a loss, and the registry of the built-in losses."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.plugins import Registry


class LossInputs(NamedTuple):
    """The scores of one batch. Higher scores mean more similar; the setting `similarity` says how they are computed.

    Attributes:
        scores: (batch, negatives) float32, scores of each user with the negatives.
        positive: (batch,) float32, score of each user with the item of its positive.
        log_weight: (negatives,) float32, logarithm of the number of catalogue items that each negative stands for.
        mask: (batch, negatives) bool, True where an item is not a negative of the user and must be ignored.
        weight: (batch,) float32 of at least 0, weight of each positive.
        user_scores: (batch, users) float32, scores of the item of each positive (rows) with every user of the batch
            (columns). None unless the loss sets `needs_user_scores`.
        user_mask: (batch, users) bool, True where the user interacted with that item. None like `user_scores`.
    """

    scores: Tensor
    positive: Tensor
    log_weight: Tensor
    mask: Tensor
    weight: Tensor
    user_scores: Tensor | None = None
    user_mask: Tensor | None = None


class Loss(Protocol):
    """A joint loss of both towers, created once per training run as `Loss(config)`.

    A loss has no trainable parameters. It may set the class attribute `needs_user_scores = True` to receive
    `user_scores` and `user_mask`. With `compile=true`, torch.compile must be able to compile it in one graph.
    """

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss of a batch, a scalar float32 with a gradient.

        Masked negatives and positives of weight 0 must not change it, and it must stay finite, gradients included, for
        a user without negatives. `weighted_mean` and `mean_of_negatives` do both.
        """
        ...


LossFactory = Callable[[TrainConfig], Loss]
LOSSES: Registry[LossFactory] = Registry("loss", "config")
