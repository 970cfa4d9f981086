"""Infer the feature of a column: dtype, tags, and the reason."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.schema import Dtype
from two_tower.starter import times, values

FEW, MANY = 32, 10_000  # an integer with at most FEW distinct values is a code; more than MANY texts are hashed
_CODE = re.compile(
    r"(^|_)(id|code|zip|type|class|kind|category|cat|group|status|level|region|country|city|index|row)s?$", re.I
)
_TITLE = re.compile(r"(title|name|headline|label)$", re.I)
_WORD_LIKE, _SEPARATORS = r"\s+", ("|", ";", ",")
_BUCKETS = {"encoding": "bucketized", "buckets": "16"}


@dataclass(frozen=True, kw_only=True)
class Use:
    """The inferred feature of a column.

    Attributes:
        kind: The kind of its values (see `values`).
        dtype: The Feast dtype. None if the column cannot be a feature.
        why: The reason, for the user.
        tags: The tags of the Feast field.
        suffix: Suffix of the name of the feature.
    """

    kind: str
    dtype: Dtype | None
    why: str
    tags: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


def use_of(column: pa.ChunkedArray, name: str, from_text: bool) -> Use:
    """Infer the feature of a column of the users or items.

    Args:
        column: (rows,) values, one row per user or item.
        name: The name of the column.
        from_text: Whether the file contains only text, so that "7" can be a number.

    Returns:
        The feature and the reason.
    """
    kind = values.kind_of(column, name, from_text)
    array = values.read_as(column, name, kind).array
    known = array.drop_null()
    if not len(known):
        return _unused(kind, "no values")
    if not _nested(known.type) and len(known.unique()) == 1 and not array.null_count:
        return _unused(kind, f"always {str(known[0].as_py())[:30]!r}")
    match kind.partition(" ")[0]:
        case "flag":
            return Use(kind=kind, dtype=Dtype.BOOL, why="true or false")
        case "time":
            return Use(
                kind=kind, dtype=Dtype.TIMESTAMP, why=f"times ({times.describe(kind.partition(' ')[2])}): age in days"
            )
        case "integer":
            return _integer(known, name, kind)
        case "number":
            return _real(known, kind)
        case "text":
            return _text(known, len(array), name)
    return _list(known, kind)


def _nested(type_: pa.DataType) -> bool:
    return pa.types.is_nested(type_)


def _unused(kind: str, why: str) -> Use:
    return Use(kind=kind, dtype=None, why=why)


def _integer(known: pa.Array, name: str, kind: str) -> Use:
    distinct = len(known.unique())
    if set(known.unique().to_pylist()[:3]) <= {0, 1} and distinct <= 2:
        return Use(kind=kind, dtype=Dtype.INT64, why="0 or 1")
    if distinct >= 0.9 * len(known) and distinct > FEW and _CODE.search(name):
        return _unused(kind, _own_value(distinct))
    if distinct <= FEW or _CODE.search(name):
        why = f"{distinct} distinct integers: a code, one embedding each"
        return Use(kind=kind, dtype=Dtype.INT64, tags={"encoding": "categorical", **_rare(distinct)}, why=why)
    if values.skewed(known):
        return Use(
            kind=kind, dtype=Dtype.INT64, tags=_BUCKETS, why="integers with a skewed distribution: quantile bins"
        )
    return Use(kind=kind, dtype=Dtype.INT64, why="integers: standardised")


def _real(known: pa.Array, kind: str) -> Use:
    if values.skewed(known):
        return Use(
            kind=kind, dtype=Dtype.FLOAT32, tags=_BUCKETS, why="numbers with a skewed distribution: quantile bins"
        )
    return Use(kind=kind, dtype=Dtype.FLOAT32, why="numbers: standardised")


def _text(known: pa.Array, rows: int, name: str) -> Use:
    distinct = known.unique()
    if pc.mean(pc.match_substring_regex(distinct, r"^(https?://|www\.|/)").cast(pa.int8())).as_py() > 0.9:
        return _unused("text", "URLs or paths: not useful as a feature")
    if separator := _separator(distinct):
        return Use(
            kind=f"list {separator}",
            dtype=Dtype.STRINGS,
            why=f"several values separated by {separator!r}: a bag of values",
        )
    word_counts = np.asarray(pc.list_value_length(pc.split_pattern_regex(distinct, _WORD_LIKE)))
    mean_words = float(np.mean(word_counts))
    own_values = len(distinct) >= 0.9 * rows and len(distinct) > FEW
    if own_values and _TITLE.search(name):
        why = "texts that people see for an item: a bag of words"
        return Use(kind="words", dtype=Dtype.STRINGS, tags={"min_count": "2"}, suffix="_words", why=why)
    if mean_words >= 5 or (mean_words >= 2 and len(distinct) > 0.5 * len(known) and len(distinct) > FEW):
        return Use(
            kind="words",
            dtype=Dtype.STRINGS,
            tags={"min_count": "2"},
            suffix="_words",
            why=f"free text with {mean_words:.1f} words on average: a bag of words",
        )
    if own_values:
        return _unused("text", _own_value(len(distinct)))
    if len(distinct) > MANY:
        why = f"{len(distinct):,} distinct texts: hashed"
        return Use(kind="text", dtype=Dtype.STRING, tags={"encoding": "hashed"}, why=why)
    return Use(kind="text", dtype=Dtype.STRING, tags=_rare(len(distinct)), why=f"{len(distinct):,} distinct texts")


def _own_value(distinct: int) -> str:
    return f"nearly every row has a different value ({distinct:,}): a name, not useful as a feature"


def _rare(distinct: int) -> dict[str, str]:
    return {"min_count": "2"} if distinct > 100 else {}


def _separator(distinct: pa.Array) -> str | None:
    """Return the separator of lists stored as text: it occurs in many texts, and the parts are short and repeat."""
    for separator in _SEPARATORS:
        listed = pc.mean(pc.match_substring(distinct, separator).cast(pa.int8())).as_py()
        if listed < 0.2:
            continue
        parts = [part.strip() for text in distinct.to_pylist() for part in text.split(separator)]
        distinct_parts = set(parts)
        length = sum(len(part.split()) for part in distinct_parts) / len(distinct_parts)
        if length <= 2.5 and len(distinct_parts) <= 0.5 * len(parts):
            return separator
    return None


def _list(known: pa.Array, kind: str) -> Use:
    type_ = known.type
    if not (pa.types.is_list(type_) or pa.types.is_large_list(type_) or pa.types.is_fixed_size_list(type_)):
        return _unused(kind, f"values of type {type_}, which towers do not accept")
    element = type_.value_type
    if pa.types.is_string(element) or pa.types.is_large_string(element):
        return Use(kind=kind, dtype=Dtype.STRINGS, why="lists of texts: a bag")
    if pa.types.is_integer(element):
        return Use(kind=kind, dtype=Dtype.INTS, why="lists of integers: a bag")
    lengths = pc.list_value_length(known).unique()
    if pa.types.is_floating(element) and len(lengths) == 1:
        return Use(kind=kind, dtype=Dtype.FLOATS, why=f"vectors of {lengths[0].as_py()} numbers")
    return _unused(kind, f"lists of {element} with {len(lengths)} different lengths: neither a bag nor a vector")
