"""The built-in feature encoders, one for each encoding."""

import numpy as np
from torch import nn

from two_tower.config import TrainConfig
from two_tower.inputs import Array
from two_tower.schema import MISSING_INT, Encoding, Feature
from two_tower.training.network import layers
from two_tower.training.network.fitted import CLIP, ENCODERS, FeatureEncoder, Fitted, Layer, Lookup
from two_tower.training.network.layers import HISTORIES, SECONDS_A_DAY

HEAVY_TAIL = 2.0  # skewness above which a number is transformed by log1p


@ENCODERS.register(Encoding.CATEGORICAL)
class CategoricalEncoder(FeatureEncoder):
    """The embedding of a value from the vocabulary."""

    lookup: Lookup = "vocabulary"

    def table_rows(self, fitted: Fitted) -> int:
        return len(fitted.vocabulary) + 1

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        assert table is not None
        return layers.Lookup(fitted.feature.name, table, config.id_dropout)


@ENCODERS.register(Encoding.HASHED)
class HashedEncoder(CategoricalEncoder):
    """The embedding of a hash bucket."""

    lookup: Lookup = "hash"

    def table_rows(self, fitted: Fitted) -> int:
        return fitted.feature.buckets + 1


@ENCODERS.register(Encoding.BAG)
class BagEncoder(CategoricalEncoder):
    """The mean of the embeddings of a list's elements."""

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        assert table is not None
        return layers.Bag(fitted.feature.name, table)


@ENCODERS.register(Encoding.HISTORY)
class HistoryEncoder(CategoricalEncoder):
    """A list of item ids, oldest first, by the setting `history`."""

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        assert table is not None
        return HISTORIES[config.history](fitted.feature.name, table, fitted.feature.max_length)


@ENCODERS.register(Encoding.NUMERIC)
class NumericEncoder(FeatureEncoder):
    """A standardised number and a flag for missing values."""

    def fit(self, feature: Feature, values: Array, seconds: Array) -> Fitted:
        """Learn the mean and the deviation; of a heavy-tailed number, after log1p."""
        known = self.numbers(values, seconds)
        known = known if len(known) else np.zeros(1)
        centred = known - known.mean()
        log = bool(known.min() >= 0 and (centred**3).mean() > HEAVY_TAIL * (centred**2).mean() ** 1.5)
        known = np.log1p(known) if log else known
        mean, std = float(known.mean()), float(_not_zero(known.std()))
        low, high = np.clip([(known.min() - mean) / std, (known.max() - mean) / std], -CLIP, CLIP).tolist()
        return Fitted(feature=feature, log=log, mean=(mean,), std=(std,), low=low, high=high)

    def numbers(self, values: Array, seconds: Array) -> Array:
        """Return the values that are not missing, float64."""
        return values[_is_known(values)].astype(np.float64)

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        return layers.Numeric(fitted)


@ENCODERS.register(Encoding.AGE)
class AgeEncoder(NumericEncoder):
    """The days from a timestamp to the event, like a number."""

    def numbers(self, values: Array, seconds: Array) -> Array:
        known = _is_known(values)
        return np.asarray((seconds[known] - values[known]) / SECONDS_A_DAY, dtype=np.float64)

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        return layers.Age(fitted)


@ENCODERS.register(Encoding.BUCKETIZED)
class BucketizedEncoder(FeatureEncoder):
    """The embedding of a quantile bin."""

    def fit(self, feature: Feature, values: Array, seconds: Array) -> Fitted:
        """Learn the quantiles."""
        known, quantiles = values[_is_known(values)].astype(np.float64), np.linspace(0, 1, feature.buckets + 1)[1:-1]
        edges = np.unique(np.quantile(known, quantiles).astype(np.float32)) if len(known) else np.zeros(0)
        return Fitted(feature=feature, edges=tuple(map(float, edges)))

    def table_rows(self, fitted: Fitted) -> int:
        return len(fitted.edges) + 2

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        assert table is not None
        return layers.Bucketized(fitted, table)


@ENCODERS.register(Encoding.CYCLIC)
class CyclicEncoder(FeatureEncoder):
    """Sine and cosine of the time of day and of the week."""

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        return layers.Cyclic(fitted.feature.name)


@ENCODERS.register(Encoding.VECTOR)
class VectorEncoder(FeatureEncoder):
    """A pretrained embedding, standardised and projected."""

    def fit(self, feature: Feature, values: Array, seconds: Array) -> Fitted:
        """Learn the mean and the deviation of each column."""
        known = values[np.isfinite(values).all(axis=1)].astype(np.float64)
        known = known if len(known) else np.zeros((1, values.shape[1]))
        mean, std = known.mean(axis=0), _not_zero(known.std(axis=0))
        return Fitted(feature=feature, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def list_length(self, fitted: Fitted) -> int:
        return len(fitted.mean)

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        return layers.Vector(fitted, fitted.feature.dim or config.feature_dim)


def _is_known(values: Array) -> Array:
    """Return which numbers are not missing."""
    return np.asarray(np.isfinite(values) if values.dtype.kind == "f" else values != MISSING_INT)


def _not_zero(std: Array) -> Array:
    return np.where(std > 0, std, 1.0)
