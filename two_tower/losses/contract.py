"""The contract test of a loss."""

import torch
from torch import Tensor, nn

from two_tower.config import TrainConfig
from two_tower.losses.protocol import LOSSES, Loss, LossFactory, LossInputs
from two_tower.plugins import check_parameters, violation


def check_loss(loss: LossFactory | str, config: TrainConfig | None = None) -> None:
    """Check that a loss follows the protocol `Loss`, on a batch of random scores.

    Args:
        loss: Class or function of the settings, or its name as in the setting `loss`.
        config: Settings that the loss is created with. Default: the defaults.

    Raises:
        InputError: The loss breaks the protocol; the message names the rule.
    """
    label = f"loss={loss if isinstance(loss, str) else getattr(loss, '__qualname__', repr(loss))}"
    factory: LossFactory = LOSSES[loss] if isinstance(loss, str) else loss
    check_parameters(factory, LOSSES.parameters, label)
    made = factory(config or TrainConfig())
    if not callable(made):
        raise violation(label, "a loss", f"it returns {type(made).__name__}, which cannot be called with LossInputs.")
    if isinstance(made, nn.Module) and any(True for _ in made.parameters()):
        raise violation(label, "a loss", "it has parameters, but the optimiser trains only the towers.")
    inputs = _inputs(getattr(made, "needs_user_scores", False))
    value = _value(made, inputs, label)
    nothing = inputs._replace(mask=torch.ones_like(inputs.mask))
    _value(made, nothing, f"{label}, where every negative is masked,")
    noise = torch.where(inputs.mask, 0.5, inputs.scores)
    if not torch.allclose(value, _value(made, inputs._replace(scores=noise), label)):
        raise violation(label, "a loss", "the score of a masked negative changes it.")
    scores, positive = inputs.scores.clone(), inputs.positive.clone()
    scores[-1], positive[-1] = -0.3, 0.7  # the weight of the last positive is 0
    if not torch.allclose(value, _value(made, inputs._replace(scores=scores, positive=positive), label)):
        raise violation(label, "a loss", "a positive of weight 0 changes it.")


def _inputs(needs_user_scores: bool) -> LossInputs:
    """Five users, four negatives; the second user has no negative, the last positive has weight 0."""
    random = torch.Generator().manual_seed(0)
    scores, positive = torch.rand(5, 4, generator=random), torch.rand(5, generator=random)
    mask = torch.rand(5, 4, generator=random) < 0.3
    mask[0], mask[1] = torch.tensor([True, False, False, False]), True
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 0.0])
    users = (torch.rand(5, 5, generator=random), torch.eye(5, dtype=torch.bool)) if needs_user_scores else (None, None)
    return LossInputs(scores, positive, torch.rand(4, generator=random), mask, weight, *users)


def _value(loss: Loss, inputs: LossInputs, label: str) -> Tensor:
    """Return the loss, checked to be a finite scalar with finite gradients."""
    scores, positive = inputs.scores.clone().requires_grad_(), inputs.positive.clone().requires_grad_()
    value = loss(inputs._replace(scores=scores, positive=positive))
    if not isinstance(value, Tensor) or value.shape != () or value.dtype != torch.float32:
        shown = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise violation(label, "a loss", f"it returns {shown}, not a scalar float32 tensor.")
    if not value.requires_grad:
        raise violation(label, "a loss", "its result has no gradient.")
    gradients = torch.autograd.grad(value, (scores, positive), allow_unused=True)
    if not all(t.isfinite().all() for t in (value, *gradients) if t is not None):
        raise violation(label, "a loss", "its value or gradient is NaN or infinite.")
    return value.detach()
