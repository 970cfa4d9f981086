"""A fitted feature, the protocol of a feature encoder, and the registry of the built-in encoders."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.plugins import Registry
from two_tower.schema import Feature

CLIP = 5.0  # standard deviations
Lookup = Literal["", "vocabulary", "hash"]


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """One feature, fitted on the training rows.

    Attributes:
        feature: The feature.
        table: Name of its embedding table; a history shares the table of the item id. Empty without a table.
        vocabulary: Value i has the id i + 1; 0 is unknown or missing (categorical, bag, history; booleans are 0 and 1).
        log: Whether sign(x)·log1p(|x|) is applied before standardising (numeric, age).
        mean: One number (numeric, age) or one for each column (vector), of the values after `log`.
        std: Like `mean`.
        low: Standardised values are clipped to the range of training: a user who is away for longer than any in
            training is encoded as away for the longest (numeric, age).
        high: Like `low`.
        edges: Ascending. Bin 1 + i holds the values at or above i of the edges, bin 0 the missing (bucketized).
        learned: State of a plug-in encoder; must be serialisable as JSON.
    """

    feature: Feature
    table: str = ""
    vocabulary: tuple[str, ...] | tuple[int, ...] = ()
    log: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    low: float = -CLIP
    high: float = CLIP
    edges: tuple[float, ...] = ()
    learned: Mapping[str, Any] = field(default_factory=dict)


class Layer(nn.Module):
    """The torch half of an encoder: turns the feature `name` into (batch, width) float32, a part of a tower's input.

    `read` has no parameters and must not depend on the other rows, so training calls it once for all rows; `embed` has
    the parameters. Both must export to ONNX with a dynamic batch size and list length, by torch.onnx.

    Attributes:
        name: Name of the feature.
        width: Number of columns of the result.
    """

    name: str
    width: int

    def read(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return ids or standardised numbers, (batch,) or (batch, n), integer or float32.

        Args:
            inputs: Ids or raw values of all features by name, see `FeatureEncoder`.
        """
        return inputs[self.name]

    def embed(self, read: Tensor) -> Tensor:
        """Return (batch, width) float32 from what `read` returned."""
        return read

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        return self.embed(self.read(inputs))


class FeatureEncoder(Protocol):
    """Turns one feature into a part of a tower's input: fitted on the training rows, then a torch layer.

    The exported ONNX file takes raw values. torch does not support strings, so a look-up before the layer turns values
    into ids and is exported on its own: `lookup = "vocabulary"` (the values seen `min_count` times or more; id 0 is
    unknown or missing) or `"hash"` (1 to `buckets`; id 0 is missing). The layer then gets int64 ids, and in training
    int32 ones. Features of the dtypes String and Array(String) need a look-up. With `lookup = ""` the layer gets raw
    values:

    - Int64, Bool, UnixTimestamp in seconds: (batch,) int64, missing -2**63
    - Float32, Float64: (batch,) float32, missing NaN
    - Array(Int64): (batch, length) int64, padded with -2**63
    - Array(Float32): (batch, `list_length`) float32, a missing list is NaN throughout

    Lists of ids are (batch, length), padded with 0.
    """

    lookup: Lookup = ""

    def fit(self, feature: Feature, values: Array, seconds: Array) -> Fitted:
        """Learn from the training rows; only called without a look-up.

        Args:
            feature: The feature.
            values: Raw values of the rows, as above.
            seconds: (rows,) int64, event time of each row.

        Returns:
            `Fitted(feature=feature, learned={...})`.
        """
        return Fitted(feature=feature)

    def table_rows(self, fitted: Fitted) -> int:
        """Return the number of rows of the embedding table, including id 0; 0 for no table."""
        return 0

    def list_length(self, fitted: Fitted) -> int:
        """Return the length of all lists of an Array(Float32); not called for other dtypes."""
        raise InputError(f"field {fitted.feature.name!r}: {type(self).__name__} does not implement list_length.")

    def layer(self, fitted: Fitted, table: nn.Embedding | None, config: TrainConfig) -> Layer:
        """Create the layer.

        Args:
            fitted: What `fit` or the look-up learned.
            table: (table_rows, width) embedding table, or None.
            config: Settings.
        """
        ...


EncoderFactory = Callable[[], FeatureEncoder]
ENCODERS: Registry[EncoderFactory] = Registry("encoding")


def encoder(feature: Feature) -> FeatureEncoder:
    """Create the encoder that a feature's encoding names.

    Raises:
        InputError: A plug-in cannot be imported; the message names the field.
    """
    try:
        return ENCODERS[feature.encoding]()
    except InputError as error:
        raise InputError(f"field {feature.name!r}: {error}") from error


def is_looked_up(feature: Feature) -> bool:
    """Whether the values of a feature are replaced by ids before torch."""
    return encoder(feature).lookup != ""


def table_rows(fitted: Fitted) -> int:
    """Return the number of rows of a feature's embedding table, including id 0."""
    return encoder(fitted.feature).table_rows(fitted)
