"""One module per encoding: from the ids or raw values of one feature to the part of a tower's input that it fills.

A layer works in two halves. `read` holds nothing that is learned, so training calls it once for all rows; `embed`
holds what is. All of it exports to ONNX with a dynamic batch and a dynamic list length. EmbeddingBag, which exports to
nested loops, is used in training alone.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.schema import EVENT_TIME, MISSING_INT, Encoding
from two_tower.training.network.encoders import CLIP, SECONDS_A_DAY, Fitted

SECONDS_A_WEEK = 7 * SECONDS_A_DAY


class Layer(nn.Module):
    """Reads the feature `name`, and gives [batch, width] float32."""

    name: str
    width: int

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        """Ids or standardised numbers, [batch] or [batch, n], from ids or raw values."""
        return inputs[self.name]

    def embed(self, read: Tensor) -> Tensor:
        """[batch, width] float32 from what `read` gave."""
        return read

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.embed(self.read(inputs))


class Lookup(Layer):
    """Categorical, hashed and bucketized: one embedding a row; ids are [batch].

    id_dropout: share of the ids that read as unknown in training, so that id 0, which stands for every new user, item
    and value, learns to say "none in particular".
    """

    def __init__(self, name: str, table: nn.Embedding, id_dropout: float) -> None:
        super().__init__()
        self.name, self.table, self.width, self.id_dropout = name, table, table.embedding_dim, id_dropout

    def embed(self, read: Tensor) -> Tensor:
        if self.training and self.id_dropout:
            read = read * (torch.rand(read.shape, device=read.device) >= self.id_dropout)
        return self.table(read)


class Bag(Layer):
    """The mean of the known elements' embeddings, zero where there is none; ids are [batch, length]."""

    def __init__(self, name: str, table: nn.Embedding) -> None:
        super().__init__()
        self.name, self.table, self.width = name, table, table.embedding_dim

    def weights(self, ids: Tensor) -> Tensor:
        """Relative weights of the elements, [batch, length], zero where an element is not known."""
        return (ids != 0).float()

    def embed(self, read: Tensor) -> Tensor:
        weights = self.weights(read)
        shares = weights / weights.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return self.pool(read, shares)

    def pool(self, ids: Tensor, shares: Tensor) -> Tensor:
        """The sum of the elements' embeddings by their shares, [batch, width]."""
        if not self.training:
            return torch.bmm(shares.unsqueeze(1), self.table(ids)).squeeze(1)
        # Many times as fast as the above in the backward pass, but for the gradient of the shares.
        bag = functional.embedding_bag(
            ids.contiguous(),
            self.table.weight,
            mode="sum",
            per_sample_weights=shares.detach(),
            sparse=self.table.sparse,
        )
        if not shares.requires_grad:
            return bag
        nothing = (shares - shares.detach()).unsqueeze(1)  # zero, with the gradient of the shares
        return bag + torch.bmm(nothing, functional.embedding(ids, self.table.weight.detach())).squeeze(1)


class History(Bag):
    """A bag whose elements weigh by how recent they are, one learned weight for each place from the newest on."""

    def __init__(self, name: str, table: nn.Embedding, max_length: int) -> None:
        super().__init__(name, table)
        self.recency = nn.Parameter(torch.zeros(max_length))

    def weights(self, ids: Tensor) -> Tensor:
        known = ids != 0
        count = known.long().cumsum(dim=1)
        newer = count[:, -1:] - count  # known elements after each
        # Each list has the few weights as its own row: in one for all, their many gradients would queue up on a GPU.
        weights = self.recency.exp().expand(len(ids), -1)
        return known.float() * weights.gather(1, newer.clamp(max=len(self.recency) - 1))


class Attention(History):
    """A history whose elements weigh by what they are too: e to the product with a learned query.

    Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL 2016.
    """

    def __init__(self, name: str, table: nn.Embedding, max_length: int) -> None:
        super().__init__(name, table, max_length)
        self.query = nn.Linear(table.embedding_dim, table.embedding_dim)
        self.context = nn.Parameter(torch.zeros(table.embedding_dim))

    def weights(self, ids: Tensor) -> Tensor:
        relevance = torch.tanh(self.query(self.table(ids))) @ self.context
        return super().weights(ids) * (relevance - relevance.amax(dim=1, keepdim=True)).exp()


class Numeric(Layer):
    """Standardised and clipped, beside a flag of missing values, [batch, 2]; raw values are [batch]."""

    mean: Tensor
    std: Tensor

    def __init__(self, fitted: Fitted) -> None:
        super().__init__()
        self.name, self.log, self.width = fitted.feature.name, fitted.log, 2
        self.low, self.high = fitted.low, fitted.high
        self.register_buffer("mean", torch.tensor(fitted.mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(fitted.std, dtype=torch.float32), persistent=False)

    def values(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The numbers, [batch] float32, and which are missing."""
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
    """Days between a timestamp and the event; both are int64 seconds, [batch]."""

    def values(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        raw, event_time = inputs[self.name], inputs[EVENT_TIME]
        missing = raw == MISSING_INT
        elapsed = event_time - torch.where(missing, event_time, raw)
        return elapsed.float() / SECONDS_A_DAY, missing


class Bucketized(Lookup):
    """The embedding of a quantile bin; raw values are [batch]."""

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
    """Sine and cosine of the time of the day and of the week, and a flag of missing values, [batch, 5]."""

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
    """A pretrained embedding, standardised and projected; a missing one is a row of NaN; raw values [batch, length]."""

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


def layer(fitted: Fitted, tables: dict[str, nn.Embedding], config: TrainConfig) -> Layer:
    """The module of one fitted feature."""
    f = fitted.feature
    match f.encoding:
        case Encoding.CATEGORICAL | Encoding.HASHED:
            return Lookup(f.name, tables[fitted.table], config.id_dropout)
        case Encoding.BAG:
            return Bag(f.name, tables[fitted.table])
        case Encoding.HISTORY:
            kind = Attention if config.history == "attention" else History
            return kind(f.name, tables[fitted.table], f.max_length)
        case Encoding.NUMERIC:
            return Numeric(fitted)
        case Encoding.AGE:
            return Age(fitted)
        case Encoding.BUCKETIZED:
            return Bucketized(fitted, tables[fitted.table])
        case Encoding.CYCLIC:
            return Cyclic(f.name)
        case Encoding.VECTOR:
            return Vector(fitted, f.dim or config.feature_dim)
