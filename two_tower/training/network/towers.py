"""The two towers: each maps features to an embedding, in one embedding space.

The architecture follows Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, and Yi et
al., "Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations", RecSys 2019.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.training.network.encoders import Encoders
from two_tower.training.network.fitted import Fitted, encoder, table_rows


class Tower(nn.Module):
    """The concatenated layers of all features, then a perceptron with a linear shortcut around it."""

    def __init__(self, fitted: tuple[Fitted, ...], tables: dict[str, nn.Embedding], config: TrainConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList([encoder(f.feature).layer(f, tables.get(f.table), config) for f in fitted])
        width = sum(part.width for part in self.layers)  # type: ignore[misc]
        self.hidden = nn.Linear(width, config.hidden)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(config.hidden, config.dim)
        self.shortcut = nn.Linear(width, config.dim, bias=False)
        self.normalise = config.similarity == "cosine"

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return embeddings, (batch, dim) float32; under the cosine they have length one.

        Args:
            inputs: A tensor for each feature by name, (batch,) or (batch, length), see `encoders.prepare`.
        """
        embedding = self.embed(self.read(inputs))
        return functional.normalize(embedding, dim=1) if self.normalise else embedding

    def read(self, inputs: dict[str, Tensor]) -> list[Tensor]:
        """Return what each layer reads from the inputs; no parameters are used."""
        return [part.read(inputs) for part in self.layers]  # type: ignore[operator]

    def embed(self, read: list[Tensor]) -> Tensor:
        """Return embeddings from what `read` returned, (batch, dim) float32, not yet normalised."""
        pairs = zip(self.layers, read, strict=True)
        parts = torch.cat([part.embed(one) for part, one in pairs], dim=1)  # type: ignore[operator]
        hidden = self.dropout(functional.gelu(self.hidden(parts)))
        return self.output(hidden) + self.shortcut(parts)


class TwoTower(nn.Module):
    """Both towers. The user's history and the item id share one embedding table."""

    def __init__(self, encoders: Encoders, config: TrainConfig) -> None:
        super().__init__()
        tables: dict[str, nn.Embedding] = {}
        for f in (*encoders.item, *encoders.user):  # items first: a history takes the width of the item id
            if f.table and f.table not in tables:
                tables[f.table] = _table(f, config)
        self.user = Tower(encoders.user, tables, config)
        self.item = Tower(encoders.item, tables, config)


def _table(fitted: Fitted, config: TrainConfig) -> nn.Embedding:
    rows = table_rows(fitted)
    width = fitted.feature.dim or min(config.feature_dim, rows)
    table = nn.Embedding(rows, width, sparse=rows >= config.sparse_rows)
    nn.init.normal_(table.weight, std=0.1)
    return table
