"""The feature contract: which features feed which tower, and how each is encoded.

A feature's encoding follows from its Feast dtype and its field's tags, and nothing else repeats it. This module needs
the standard library alone, so that every room, and a user's feature repository, may import it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any, Literal

from two_tower.errors import InputError, unknown

TowerName = Literal["user", "item"]

USER_SERVICE = "user_tower"
ITEM_SERVICE = "item_tower"
SEEN_SERVICE = "user_seen"  # optional: one array feature, every item that the user has seen
INTERACTIONS_VIEW = "interactions"
EVENT_TIME = "event_time"  # extra input of a tower that has an age feature: int64 seconds, [batch]
EMBEDDING = "embedding"  # output of a tower: float32 [batch, dim]
POPULARITY = "popularity"  # column of items.parquet beside the item features
RESERVED = (EVENT_TIME, EMBEDDING, POPULARITY)

MISSING_STRING = ""
MISSING_INT = -(2**63)


class Dtype(StrEnum):
    """The Feast dtypes that a tower can take, by Feast's own names."""

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
    """How a raw Feast value becomes the input of a tower."""

    CATEGORICAL = "categorical"  # learned vocabulary, id 0 = unknown or missing
    HASHED = "hashed"  # MurmurHash3 into buckets, id 0 = missing
    NUMERIC = "numeric"  # standardised, missing flagged
    BUCKETIZED = "bucketized"  # quantile bins, bin 0 = missing
    AGE = "age"  # days between the timestamp and the event, standardised, missing flagged
    CYCLIC = "cyclic"  # sine and cosine of the hour of the day and the day of the week
    BAG = "bag"  # masked mean of embeddings
    HISTORY = "history"  # a bag of item ids, oldest first; shares the item-id table
    VECTOR = "vector"  # a pretrained embedding, projected


ENCODINGS: dict[Dtype, tuple[Encoding, ...]] = {  # the default first
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
    """One input of one tower.

    dim: width of its embedding; None takes the model's default.
    min_count: a value seen less often in training is unknown (categorical, bag).
    buckets: how many hash buckets (hashed) or quantile bins (bucketized).
    max_length: how many of the newest elements are read (bag, history).
    """

    name: str
    dtype: Dtype
    encoding: Encoding
    dim: int | None = None
    min_count: int = 1
    buckets: int = 32
    max_length: int = 50


_NUMBER_TAGS = ("dim", "min_count", "buckets", "max_length")


def feature(name: str, dtype: str, tags: Mapping[str, str]) -> Feature:
    """The feature that a Feast field declares by its dtype and its tags; tags of other tools are ignored.

    Raises InputError, naming the field, for a dtype no tower can take and for a tag's value out of range.
    """
    if dtype not in set(Dtype):
        raise InputError(
            f"field {name!r} has the dtype {dtype}, which no tower can take. Allowed: {', '.join(Dtype)}. "
            "Change the field's dtype, or leave it out of the feature service."
        )
    allowed = ENCODINGS[Dtype(dtype)]
    encoding = tags.get("encoding", allowed[0])
    if encoding not in allowed:
        raise unknown(f"encoding of field {name!r} ({dtype})", encoding, allowed)
    numbers: dict[str, int] = {}
    for tag in _NUMBER_TAGS:
        if tag in tags:
            if not tags[tag].isdigit() or int(tags[tag]) < 1:
                raise InputError(f"tag {tag}={tags[tag]!r} of field {name!r} is not a whole number of at least 1.")
            numbers[tag] = int(tags[tag])
    defaults = {"buckets": 10_000} if encoding == Encoding.HASHED else {}
    return Feature(name=name, dtype=Dtype(dtype), encoding=Encoding(encoding), **(defaults | numbers))


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Both towers' features and the join keys; the one description that every room reads.

    seen: the feature of the optional service `user_seen`, None where the repository has no such service.
    """

    user_key: str
    user_key_dtype: Dtype
    item_key: str
    item_key_dtype: Dtype
    user: tuple[Feature, ...]
    item: tuple[Feature, ...]
    seen: Feature | None = None

    def __post_init__(self) -> None:
        for tower, service in (("user", USER_SERVICE), ("item", ITEM_SERVICE)):
            names = [f.name for f in self.tower(tower)]  # type: ignore[arg-type]
            if not names:
                raise InputError(f"feature service {service!r} has no features. Add at least one.")
            twice = sorted({n for n in names if names.count(n) > 1})
            reserved = [n for n in names if n in RESERVED]
            if twice or reserved:
                raise InputError(
                    f"feature service {service!r}: {', '.join(twice or reserved)} is "
                    f"{'named twice' if twice else 'a reserved name'}. Rename the field."
                )

    def tower(self, name: TowerName) -> tuple[Feature, ...]:
        return self.user if name == "user" else self.item

    def key(self, name: TowerName) -> str:
        return self.user_key if name == "user" else self.item_key

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Contract":
        """The inverse of `to_dict`, also after a trip through JSON."""
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
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        return cls.from_dict(json.loads(text))


def _feature_from_dict(data: Mapping[str, Any]) -> Feature:
    assert set(data) == {f.name for f in fields(Feature)}, data
    return Feature(**{**data, "dtype": Dtype(data["dtype"]), "encoding": Encoding(data["encoding"])})


def needs_event_time(features: tuple[Feature, ...]) -> bool:
    """Whether a tower over these features takes the input `event_time` (int64 seconds, [batch])."""
    return any(f.encoding == Encoding.AGE for f in features)
