"""The torch layers of the built-in encodings, see `Layer`.

EmbeddingBag, which exports to nested loops in ONNX, is used in training only.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from two_tower.plugins import Registry
from two_tower.schema import EVENT_TIME, MISSING_INT
from two_tower.training.network.fitted import CLIP, Fitted, Layer

SECONDS_A_DAY = 86_400
SECONDS_A_WEEK = 7 * SECONDS_A_DAY


HistoryFactory = Callable[[str, nn.Embedding, int], Layer]
HISTORIES: Registry[HistoryFactory] = Registry("history", "name", "table", "max_length")


class Lookup(Layer):
    """Categorical, hashed and bucketized: one embedding for each row; ids are (batch,).

    In training, a share `id_dropout` of the ids is replaced by 0 (unknown), so that its embedding, which stands for
    every new user, item and value, is trained.
    """

    def __init__(self, name: str, table: nn.Embedding, id_dropout: float) -> None:
        super().__init__()
        self.name, self.table, self.width, self.id_dropout = name, table, table.embedding_dim, id_dropout

    def embed(self, read: Tensor) -> Tensor:
        if self.training and self.id_dropout:
            read = read * (torch.rand(read.shape, device=read.device) >= self.id_dropout)
        return self.table(read)


class Bag(Layer):
    """The mean of the known elements' embeddings, zero if there are none; ids are (batch, length)."""

    def __init__(self, name: str, table: nn.Embedding) -> None:
        super().__init__()
        self.name, self.table, self.width = name, table, table.embedding_dim

    def weights(self, ids: Tensor) -> Tensor:
        """Return relative weights of the elements, (batch, length), zero where an element is unknown."""
        return (ids != 0).float()

    def embed(self, read: Tensor) -> Tensor:
        weights = self.weights(read)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return self.pool(read, shares)

    def pool(self, ids: Tensor, shares: Tensor) -> Tensor:
        """Return the sum of the elements' embeddings weighted by their shares, (batch, width)."""
        if not self.training:
            return torch.bmm(shares.unsqueeze(1), self.table(ids)).squeeze(1)
        # The backward pass is many times faster than that of the line above, but gives the shares no gradient.
        bag = functional.embedding_bag(
            ids.contiguous(),
            self.table.weight,
            mode="sum",
            per_sample_weights=shares.detach(),
            sparse=self.table.sparse,
        )
        if not shares.requires_grad:
            return bag
        zero = (shares - shares.detach()).unsqueeze(1)  # its gradient is that of the shares
        return bag + torch.bmm(zero, functional.embedding(ids, self.table.weight.detach())).squeeze(1)


@HISTORIES.register("mean")
class History(Bag):
    """A bag weighted by recency: one learned weight for each position, counted from the newest element."""

    def __init__(self, name: str, table: nn.Embedding, max_length: int) -> None:
        super().__init__(name, table)
        self.recency = nn.Parameter(torch.zeros(max_length))

    def weights(self, ids: Tensor) -> Tensor:
        known = ids != 0
        count = known.long().cumsum(dim=1)
        newer = count[:, -1:] - count  # known elements after each
        # Each list gets the weights as a row of its own: in one row for all, their gradients would queue up on a GPU.
        weights = self.recency.exp().expand(len(ids), -1)
        return known.float() * weights.gather(1, newer.clamp(max=len(self.recency) - 1))


@HISTORIES.register("attention")
class Attention(History):
    """A history weighted by recency and content: e to the power of the product with a learned query.

    Source: Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL 2016.
    """

    def __init__(self, name: str, table: nn.Embedding, max_length: int) -> None:
        super().__init__(name, table, max_length)
        self.query = nn.Linear(table.embedding_dim, table.embedding_dim)
        self.context = nn.Parameter(torch.zeros(table.embedding_dim))

    def weights(self, ids: Tensor) -> Tensor:
        relevance = torch.tanh(self.query(self.table(ids))) @ self.context
        return super().weights(ids) * (relevance - relevance.amax(dim=1, keepdim=True)).exp()


class Numeric(Layer):
    """Standardised and clipped, with a flag for missing values, (batch, 2); raw values are (batch,)."""

    mean: Tensor
    std: Tensor

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        self.name, self.log, self.width = fitted.feature.name, fitted.log, 2
        self.low, self.high = fitted.low, fitted.high
        self.register_buffer("mean", torch.tensor(fitted.mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(fitted.std, dtype=torch.float32), persistent=False)

    def values(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the numbers, (batch,) float32, and which are missing, (batch,) bool."""
        raw = inputs[self.name]
        missing = raw.isnan() if raw.is_floating_point() else raw == MISSING_INT
        return raw.float(), missing

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        values, missing = self.values(inputs)
        values = torch.where(missing, self.mean, values)
        values = torch.sign(values) * torch.log1p(values.abs()) if self.log else values
        scaled = ((values - self.mean) / self.std).clamp(self.low, self.high)
        return torch.stack([torch.where(missing, 0.0, scaled), missing.float()], dim=1)


class Age(Numeric):
    """Days between a timestamp and the event; both are (batch,) int64 seconds."""

    def values(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        raw, event_time = inputs[self.name], inputs[EVENT_TIME]
        missing = raw == MISSING_INT
        elapsed = event_time - torch.where(missing, event_time, raw)
        return elapsed.float() / SECONDS_A_DAY, missing


class Bucketized(Lookup):
    """The embedding of a quantile bin; raw values are (batch,)."""

    edges: Tensor

    def __init__(self, fitted: Fitted, table: nn.Embedding) -> None:
        super().__init__(fitted.feature.name, table, id_dropout=0.0)
        self.register_buffer("edges", torch.tensor(fitted.edges, dtype=torch.float32), persistent=False)

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        raw = inputs[self.name]
        missing = raw.isnan() if raw.is_floating_point() else raw == MISSING_INT
        bins = (raw.float().unsqueeze(1) >= self.edges).sum(dim=1) + 1
        return torch.where(missing, 0, bins)


class Cyclic(Layer):
    """Sine and cosine of the time of day and of the week, and a flag for missing values, (batch, 5)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name, self.width = name, 5

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        raw = inputs[self.name]
        missing = raw == MISSING_INT
        raw = torch.where(missing, 0, raw)
        day = torch.remainder(raw, SECONDS_A_DAY).float() * (2 * math.pi / SECONDS_A_DAY)
        week = torch.remainder(raw, SECONDS_A_WEEK).float() * (2 * math.pi / SECONDS_A_WEEK)
        parts = torch.stack([day.sin(), day.cos(), week.sin(), week.cos()], dim=1)
        return torch.cat([torch.where(missing.unsqueeze(1), 0.0, parts), missing.float().unsqueeze(1)], dim=1)


class Vector(Layer):
    """A pretrained embedding, standardised and projected; raw values are (batch, length), a missing row is NaN."""

    mean: Tensor
    std: Tensor

    def __init__(self, fitted: Fitted, width: int) -> None:
        super().__init__()
        self.name, self.width = fitted.feature.name, width
        self.register_buffer("mean", torch.tensor(fitted.mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(fitted.std, dtype=torch.float32), persistent=False)
        self.project = nn.Linear(len(fitted.mean) + 1, width)

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        raw = inputs[self.name]
        missing = raw.isnan().any(dim=1, keepdim=True)
        scaled = ((raw - self.mean) / self.std).clamp(-CLIP, CLIP)
        return torch.cat([torch.where(missing, 0.0, scaled), missing.float()], dim=1)

    def embed(self, read: Tensor) -> Tensor:
        return self.project(read)
