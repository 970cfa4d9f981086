"""The contract test of a history encoder, without its export."""

import torch

from two_tower.plugins import check_parameters, violation
from two_tower.training.network.fitted import Layer
from two_tower.training.network.layers import HISTORIES, HistoryFactory

KIND = "a history encoder"


def check_layer(history: HistoryFactory | str) -> None:
    """Check that a history encoder maps lists of item ids to vectors.

    Args:
        history: Class or function of (name, table, max_length), or its name as in the setting `history`.

    Raises:
        InputError: The encoder breaks the protocol; the message names the rule.
    """
    label = f"history={history if isinstance(history, str) else getattr(history, '__qualname__', history)}"
    factory: HistoryFactory = HISTORIES[history] if isinstance(history, str) else history
    check_parameters(factory, HISTORIES.parameters, label)
    table = torch.nn.Embedding(9, 4)
    layer = factory("items", table, 5)
    if not isinstance(layer, Layer):
        raise violation(label, KIND, f"it returns {type(layer).__name__}, which is not a Layer.")
    if not isinstance(getattr(layer, "width", None), int) or getattr(layer, "name", None) != "items":
        raise violation(label, KIND, "the layer does not set `name` and `width`.")
    ids = torch.tensor([[1, 2, 3, 0], [4, 0, 5, 6], [0, 0, 0, 0]])
    for read in (ids, ids.int(), ids[:, :1], ids.repeat(1, 3), ids[:1]):
        vectors = layer.train().embed(read)
        if vectors.shape != (len(read), layer.width) or vectors.dtype != torch.float32:
            raise violation(
                label, KIND, f"it returns {tuple(vectors.shape)} {vectors.dtype}, not (batch, width) float32."
            )
        if not vectors.isfinite().all():
            raise violation(label, KIND, "it returns NaN or infinity; a list can be empty.")
    layer.train().embed(ids).square().sum().backward()  # type: ignore[no-untyped-call]
    layer.eval()
    if table.weight.grad is None and any(p.grad is None for p in layer.parameters()):
        raise violation(label, KIND, "no gradient reaches the embedding table.")
    with torch.no_grad():
        if not torch.allclose(layer.embed(ids), layer.embed(torch.nn.functional.pad(ids, (0, 3))), atol=1e-6):
            raise violation(label, KIND, "padding with 0 on the right changes the result.")
        if not torch.allclose(layer.embed(ids)[:1], layer.embed(ids[:1]), atol=1e-6):
            raise violation(label, KIND, "the result depends on other rows.")
