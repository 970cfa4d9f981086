"""The two encoders: features in, one embedding out; both into one embedding space.

The architecture follows Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, and Yi et
al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.training.network.encoders import Encoders, Fitted
from two_tower.training.network.layers import layer


class Tower(nn.Module):
    """Every feature's part, side by side, through a perceptron with a linear short cut around it."""

    def __init__(self, fitted: tuple[Fitted, ...], tables: dict[str, nn.Embedding], config: TrainConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([layer(f, tables, config) for f in fitted])
        width = sum(part.width for part in self.layers)  # type: ignore[misc]
        self.hidden = nn.Linear(width, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, config.dim)
        self.shortcut = nn.Linear(width, config.dim, bias=False)
        self.normalise = config.similarity == "cosine"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """inputs: one tensor per feature by its name (see `encoders.prepare`), [batch] or [batch, length].

        Returns embeddings, [batch, dim] float32, of length one where the similarity is the cosine.
        """
        embedding = self.embed(self.read(inputs))
        return functional.normalize(embedding, dim=1) if self.normalise else embedding

    def read(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """What each layer reads from the inputs; nothing learned is in it."""
        return [part.read(inputs) for part in self.layers]  # type: ignore[operator]

    def embed(self, read: list[Tensor]) -> Tensor:
        """Embeddings from what `read` gave, [batch, dim] float32, not yet brought to length one."""
        pairs = zip(self.layers, read, strict=True)
        parts = torch.cat([part.embed(one) for part, one in pairs], dim=1)  # type: ignore[operator]
        hidden = self.dropout(functional.gelu(self.hidden(parts)))
        return self.output(hidden) + self.shortcut(parts)


class TwoTower(nn.Module):
    """Both towers; the user's history and the item's id share one embedding table."""

    def __init__(self, encoders: Encoders, config: TrainConfig) -> None:
        super().__init__()
        tables: dict[str, nn.Embedding] = {}
        for f in (*encoders.item, *encoders.user):  # the item's first, for a history takes the item id's width
            if f.table and f.table not in tables:
                tables[f.table] = _table(f, config)
        self.user = Tower(encoders.user, tables, config)
        self.item = Tower(encoders.item, tables, config)


def _table(fitted: Fitted, config: TrainConfig) -> nn.Embedding:
    width = fitted.feature.dim or min(config.feature_dim, fitted.size)
    table = nn.Embedding(fitted.size, width, sparse=fitted.size >= config.sparse_rows)
    nn.init.normal_(table.weight, std=0.1)
    return table
