"""The feature contract: the input features of each tower and their encodings.

The encoding of a feature follows from its Feast dtype and the tags of its field. No other setting repeats it. This
module needs only the standard library, so that all packages and the feature repositories of users can import it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Literal

from two_tower.errors import InputError, unknown
from two_tower.plugins import is_reference

TowerName = Literal["user", "item"]
SplitMethod = Literal["time", "per_user"]  # per_user: a random holdout of each user's interactions, without times

USER_SERVICE = "user_tower"
ITEM_SERVICE = "item_tower"
SEEN_SERVICE = "user_seen"  # optional: one array feature with all items that the user has seen
INTERACTIONS_VIEW = "interactions"
SPLIT_TAG = "split"  # tag of the interactions view: how the rows are split, see `SplitMethod`
EVENT_TIME = "event_time"  # extra input of a tower with an age feature: (batch,) int64, seconds since 1970
EMBEDDING = "embedding"  # output of a tower: (batch, dim) float32
POPULARITY = "popularity"  # additional column of items.parquet
RESERVED = (EVENT_TIME, EMBEDDING, POPULARITY)
RESERVED_PREFIX = "two_tower_"  # of the columns that this project adds to tables of features
RESERVED_KEYS = ("event_timestamp", "weight", "split", *RESERVED)  # columns of the interactions; not join keys

MISSING_STRING = ""
MISSING_INT = -(2**63)


class Dtype(StrEnum):
    """Feast dtypes that a tower accepts; the values are Feast's names."""

    STRING = "String"
    INT64 = "Int64"
    FLOAT32 = "Float32"
    FLOAT64 = "Float64"
    BOOL = "Bool"
    TIMESTAMP = "UnixTimestamp"
    STRINGS = "Array(String)"
    INTS = "Array(Int64)"
    FLOATS = "Array(Float32)"


class Encoding(StrEnum):
    """Encodings that convert a raw Feast value into the input of a tower."""

    CATEGORICAL = "categorical"  # vocabulary of the training rows, id 0 = unknown or missing
    HASHED = "hashed"  # MurmurHash3 into buckets, id 0 = missing
    NUMERIC = "numeric"  # standardised value and a flag for missing values
    BUCKETIZED = "bucketized"  # quantile bins, bin 0 = missing
    AGE = "age"  # days from the timestamp to the event, standardised, and a flag for missing values
    CYCLIC = "cyclic"  # sine and cosine of the hour of the day and the day of the week
    BAG = "bag"  # masked mean of embeddings
    HISTORY = "history"  # bag of item ids, oldest first; shares the embedding table of the item id
    VECTOR = "vector"  # pretrained embedding with a learned projection


ENCODINGS: dict[Dtype, tuple[Encoding, ...]] = {  # allowed encodings; the first is the default
    Dtype.STRING: (Encoding.CATEGORICAL, Encoding.HASHED),
    Dtype.INT64: (Encoding.NUMERIC, Encoding.CATEGORICAL, Encoding.HASHED, Encoding.BUCKETIZED),
    Dtype.FLOAT32: (Encoding.NUMERIC, Encoding.BUCKETIZED),
    Dtype.FLOAT64: (Encoding.NUMERIC, Encoding.BUCKETIZED),
    Dtype.BOOL: (Encoding.CATEGORICAL,),
    Dtype.TIMESTAMP: (Encoding.AGE, Encoding.CYCLIC),
    Dtype.STRINGS: (Encoding.BAG, Encoding.HISTORY),
    Dtype.INTS: (Encoding.BAG, Encoding.HISTORY),
    Dtype.FLOATS: (Encoding.VECTOR,),
}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One input feature of a tower.

    Attributes:
        name: The name of the feature in Feast.
        dtype: The Feast dtype.
        encoding: The encoding of the values: an `Encoding`, or a plug-in as `package.module:Name`.
        dim: The width of the embedding. None: the default of the model.
        min_count: Values that occur less often in the training rows count as unknown (categorical, bag).
        buckets: The number of hash buckets (hashed) or quantile bins (bucketized).
        max_length: The tower reads at most this many of the newest elements (bag, history).
    """

    name: str
    dtype: Dtype
    encoding: Encoding | str
    dim: int | None = None
    min_count: int = 1
    buckets: int = 32
    max_length: int = 50

    @property
    def is_discrete(self) -> bool:
        """Whether the values are categories, or lists of them, and not numbers."""
        by_dtype = self.dtype in (Dtype.STRING, Dtype.BOOL, Dtype.STRINGS, Dtype.INTS)
        return by_dtype or self.encoding in (Encoding.CATEGORICAL, Encoding.HASHED)


def _encoding(text: str) -> Encoding | str:
    return text if is_reference(text) else Encoding(text)


_NUMBER_TAGS = ("dim", "min_count", "buckets", "max_length")


def feature(name: str, dtype: str, tags: Mapping[str, str]) -> Feature:
    """Make the feature that a Feast field declares with its dtype and tags.

    Args:
        name: The name of the field.
        dtype: The Feast dtype of the field, as text.
        tags: The tags of the field. Tags of other tools are ignored.

    Returns:
        The feature with its encoding and sizes.

    Raises:
        InputError: If towers do not accept the dtype, the encoding does not fit the dtype, or a tag is not a whole
            number of at least 1.
    """
    if dtype not in set(Dtype):
        raise InputError(
            f"field {name!r} has the dtype {dtype}, which towers do not accept. Allowed: {', '.join(Dtype)}. "
            "Change the dtype of the field, or remove the field from the feature service."
        )
    allowed = ENCODINGS[Dtype(dtype)]
    encoding = tags.get("encoding", allowed[0])
    if encoding not in allowed and not is_reference(encoding):
        raise unknown(f"encoding of field {name!r} ({dtype})", encoding, (*allowed, "package.module:Name"))
    numbers: dict[str, int] = {}
    for tag in _NUMBER_TAGS:
        if tag in tags:
            if not tags[tag].isdigit() or int(tags[tag]) < 1:
                raise InputError(f"tag {tag}={tags[tag]!r} of field {name!r} is not a whole number of at least 1.")
            numbers[tag] = int(tags[tag])
    defaults = {"buckets": 10_000} if encoding == Encoding.HASHED else {}
    return Feature(name=name, dtype=Dtype(dtype), encoding=_encoding(encoding), **(defaults | numbers))


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The join keys and the features of both towers.

    Attributes:
        user_key: The join key of the entity `user`.
        user_key_dtype: The dtype of the user key, String or Int64.
        item_key: The join key of the entity `item`.
        item_key_dtype: The dtype of the item key, String or Int64.
        user: The features of the user tower.
        item: The features of the item tower.
        seen: The feature of the optional service `user_seen`. None if the repository does not have this service.

    Raises:
        InputError: If a tower has no features, two features of a tower have the same name, or the name of a feature or
            join key is reserved.
    """

    user_key: str
    user_key_dtype: Dtype
    item_key: str
    item_key_dtype: Dtype
    user: tuple[Feature, ...]
    item: tuple[Feature, ...]
    seen: Feature | None = None

    def __post_init__(self) -> None:
        for key in (self.user_key, self.item_key):
            if key in RESERVED_KEYS or key.startswith(RESERVED_PREFIX):
                raise InputError(f"join key {key!r} has a reserved name. Rename the join key of the entity.")
        for tower, service in (("user", USER_SERVICE), ("item", ITEM_SERVICE)):
            names = [f.name for f in self.tower(tower)]  # type: ignore[arg-type]
            if not names:
                raise InputError(f"feature service {service!r} has no features. Add at least one.")
            duplicates = sorted({n for n in names if names.count(n) > 1})
            reserved = [n for n in names if n in RESERVED or n.startswith(RESERVED_PREFIX)]
            if duplicates or reserved:
                raise InputError(
                    f"feature service {service!r}: {', '.join(duplicates or reserved)} is "
                    f"{'a duplicate name' if duplicates else 'a reserved name'}. Rename the field."
                )

    def tower(self, name: TowerName) -> tuple[Feature, ...]:
        """Return the features of a tower."""
        return self.user if name == "user" else self.item

    def key(self, name: TowerName) -> str:
        """Return the join key of a tower's entity."""
        return self.user_key if name == "user" else self.item_key

    def to_dict(self) -> dict[str, Any]:
        """Return the contract as a dict of JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """Make a contract from the dict of `to_dict`, before or after conversion to JSON."""
        return cls(
            user_key=data["user_key"],
            user_key_dtype=Dtype(data["user_key_dtype"]),
            item_key=data["item_key"],
            item_key_dtype=Dtype(data["item_key_dtype"]),
            user=tuple(_feature_from_dict(f) for f in data["user"]),
            item=tuple(_feature_from_dict(f) for f in data["item"]),
            seen=_feature_from_dict(data["seen"]) if data["seen"] else None,
        )

    def to_json(self) -> str:
        """Return the contract as JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Make a contract from the text of `to_json`."""
        return cls.from_dict(json.loads(text))


def _feature_from_dict(data: Mapping[str, Any]) -> Feature:
    names = {f.name for f in fields(Feature)}
    if set(data) != names:
        raise InputError(f"a feature has the fields {', '.join(sorted(data))}. Needed: {', '.join(sorted(names))}.")
    return Feature(**{**data, "dtype": Dtype(data["dtype"]), "encoding": _encoding(data["encoding"])})


def needs_event_time(features: tuple[Feature, ...]) -> bool:
    """Return whether a tower with these features needs the input `event_time`, (batch,) int64 seconds since 1970."""
    return any(f.encoding == Encoding.AGE for f in features)
