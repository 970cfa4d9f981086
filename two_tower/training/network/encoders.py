"""What is learned of each feature from the training rows: vocabularies, means, bin edges; and the look-up of ids.

Strings and ids are looked up here, outside torch, which knows no strings; the exported files hold the same look-up as
ONNX nodes. Every other transformation lives inside the torch module (see `layers`), and so in the exported graph.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from two_tower.data.pulled import Pulled, Split
from two_tower.inputs import ARROW_TYPES, Array, column_to_input
from two_tower.schema import (
    EVENT_TIME,
    MISSING_INT,
    MISSING_STRING,
    Contract,
    Dtype,
    Encoding,
    Feature,
    TowerName,
    needs_event_time,
)

VOCABULARY: Final = frozenset({Encoding.CATEGORICAL, Encoding.BAG, Encoding.HISTORY})
LOOKED_UP: Final = VOCABULARY | {Encoding.HASHED}
HEAVY_TAIL = 2.0  # a skewness above which a number is read through log1p
SECONDS_A_DAY = 86_400
CLIP = 5.0  # standard deviations
TOWERS: Final[tuple[TowerName, TowerName]] = ("user", "item")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What was learned of one feature.

    table: the name of its embedding table; a history shares the item-id feature's. Empty where it has none.
    vocabulary: value i has the id i + 1, for 0 is unknown or missing (categorical, bag, history; booleans as 0 and 1).
    log: whether sign(x)·log1p(|x|) comes before the standardisation (numeric, age).
    mean, std: one number (numeric, age) or one a column (vector), of the values after `log`.
    low, high: standardised values are clipped to these, the range of training: a user away for longer than any in
        training reads as away for the longest (numeric, age).
    edges: ascending; bin 1 + i holds the values at or above i of the edges, bin 0 the missing (bucketized).
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

    @property
    def size(self) -> int:
        """How many rows the embedding table has, id 0 included."""
        match self.feature.encoding:
            case Encoding.HASHED:
                return self.feature.buckets + 1
            case Encoding.BUCKETIZED:
                return len(self.edges) + 2
            case _:
                return len(self.vocabulary) + 1


@dataclass(frozen=True)
class Encoders:
    """Both towers' fitted features, in the contract's order."""

    user: tuple[Fitted, ...]
    item: tuple[Fitted, ...]

    def tower(self, name: TowerName) -> tuple[Fitted, ...]:
        return self.user if name == "user" else self.item

    def to_dict(self) -> dict[str, Any]:
        """Without the features themselves, which the contract holds."""
        return {
            name: [{k: v for k, v in asdict(f).items() if k != "feature"} for f in self.tower(name)] for name in TOWERS
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], contract: Contract) -> "Encoders":
        """The inverse of `to_dict`, also after a trip through JSON."""
        user, item = (
            tuple(_restore(f, values) for f, values in zip(contract.tower(name), data[name], strict=True))
            for name in TOWERS
        )
        return cls(user, item)


def _restore(f: Feature, values: Mapping[str, Any]) -> Fitted:
    restored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Fitted(feature=f, **restored)


def fit(pulled: Pulled) -> Encoders:
    """Learn every feature's encoding from the training rows, and from the items that existed when training ended.

    An item id or an item that no training row holds has nothing to be learned from, so ids come from the training rows
    alone; the contents of such items (categories, prices) are known from the catalogue.
    """
    rows, contract = pulled.rows(Split.TRAIN), pulled.contract
    end = pulled.bounds.train_end
    users, items, catalogue = pulled.user.take(rows), pulled.item.take(rows), pulled.catalogue_at(end)
    seconds = pulled.seconds[rows]
    id_of_item = id_feature(contract, items, pulled.interactions[contract.item_key].take(rows))
    both = pa.concat_tables([items, catalogue.select(items.column_names)])
    both_seconds = np.concatenate([seconds, np.full(catalogue.num_rows, int(end.timestamp()))])
    item = tuple(
        fit_feature(f, items[f.name], seconds, f"item:{f.name}")
        if f is id_of_item
        else fit_feature(f, both[f.name], both_seconds, f"item:{f.name}")
        for f in contract.item
    )
    ids = next((f for f in item if f.feature is id_of_item), None)
    user = (share(fit_feature(f, users[f.name], seconds, f"user:{f.name}"), ids) for f in contract.user)
    return Encoders(tuple(user), item)


def id_feature(contract: Contract, items: pa.Table, keys: pa.ChunkedArray) -> Feature | None:
    """The categorical item feature whose values are the join key's, None where there is none."""
    for f in contract.item:
        column = items[f.name]
        if (
            f.encoding == Encoding.CATEGORICAL
            and f.dtype == contract.item_key_dtype
            and column.null_count < len(column)
        ):
            known = pc.is_valid(column)
            if column.filter(known).equals(keys.cast(column.type).filter(known)):
                return f
    return None


def share(fitted: Fitted, ids: Fitted | None) -> Fitted:
    """A history with the item ids' vocabulary and embedding table, where its elements are item ids of one type."""
    elements = {Dtype.STRINGS: Dtype.STRING, Dtype.INTS: Dtype.INT64}
    if fitted.feature.encoding != Encoding.HISTORY or not ids or elements[fitted.feature.dtype] != ids.feature.dtype:
        return fitted
    return replace(fitted, vocabulary=ids.vocabulary, table=ids.table)


def fit_feature(f: Feature, column: pa.ChunkedArray, seconds: Array, table: str) -> Fitted:
    """One feature, from the values of the training rows; `table` names its embedding table, if it has one."""
    match f.encoding:
        case Encoding.CATEGORICAL | Encoding.BAG | Encoding.HISTORY:
            return Fitted(feature=f, table=table, vocabulary=_vocabulary(f, column))
        case Encoding.HASHED:
            return Fitted(feature=f, table=table)
        case Encoding.NUMERIC | Encoding.AGE:
            return _fit_number(f, _numbers(f, column, seconds))
        case Encoding.BUCKETIZED:
            quantiles = np.linspace(0, 1, f.buckets + 1)[1:-1]
            values = _numbers(f, column, seconds)
            edges = np.unique(np.quantile(values, quantiles).astype(np.float32)) if len(values) else np.zeros(0)
            return Fitted(feature=f, table=table, edges=tuple(map(float, edges)))
        case Encoding.CYCLIC:
            return Fitted(feature=f)
        case Encoding.VECTOR:
            matrix = column_to_input(column, f)
            known = matrix[np.isfinite(matrix).all(axis=1)].astype(np.float64)
            known = known if len(known) else np.zeros((1, matrix.shape[1]))
            return Fitted(
                feature=f, mean=tuple(known.mean(axis=0).tolist()), std=tuple(_not_zero(known.std(axis=0)).tolist())
            )


def _vocabulary(f: Feature, column: pa.ChunkedArray) -> tuple[Any, ...]:
    """Values seen `min_count` times or more, the most frequent first."""
    if f.dtype == Dtype.BOOL:
        return (0, 1)
    counted = flat(column).value_counts()
    return frequent(f, counted.field("values"), counted.field("counts"))


def frequent(f: Feature, values: pa.Array, counts: pa.Array) -> tuple[Any, ...]:
    """A vocabulary from different values and how often each is seen: `min_count` times or more, the most first."""
    missing = (None, MISSING_STRING, MISSING_INT)
    kept = [
        (-n, v)
        for v, n in zip(values.to_pylist(), counts.to_pylist(), strict=True)
        if n >= f.min_count and v not in missing
    ]
    return tuple(v for _, v in sorted(kept))


def _numbers(f: Feature, column: pa.ChunkedArray, seconds: Array) -> Array:
    """The finite values of a feature as float64; ages in days before `seconds`."""
    raw = column_to_input(column, f)
    known = np.isfinite(raw) if raw.dtype.kind == "f" else raw != MISSING_INT
    values = raw[known]
    if f.encoding == Encoding.AGE:
        values = (seconds[known] - values) / SECONDS_A_DAY
    return np.asarray(values, dtype=np.float64)


def _fit_number(f: Feature, values: Array) -> Fitted:
    values = values if len(values) else np.zeros(1)
    centred = values - values.mean()
    log = bool(values.min() >= 0 and (centred**3).mean() > HEAVY_TAIL * (centred**2).mean() ** 1.5)
    values = np.log1p(values) if log else values
    mean, std = float(values.mean()), float(_not_zero(values.std()))
    low, high = np.clip([(values.min() - mean) / std, (values.max() - mean) / std], -CLIP, CLIP).tolist()
    return Fitted(feature=f, log=log, mean=(mean,), std=(std,), low=low, high=high)


def _not_zero(std: Array) -> Array:
    return np.where(std > 0, std, 1.0)


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The values of a column, those of all its lists one after another."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.flatten() if pa.types.is_list(values.type) or pa.types.is_large_list(values.type) else values


def lookup(fitted: Fitted, raw: Array) -> Array:
    """Ids of raw values: strings or int64 of any shape → int64 of the same shape; 0 for unknown or missing."""
    assert fitted.feature.encoding in LOOKED_UP
    kind = pa.string() if raw.dtype.kind in "OU" else pa.int64()
    return _ids(fitted, pa.array(raw.ravel(), type=kind)).reshape(raw.shape)


def _ids(fitted: Fitted, values: pa.Array) -> Array:
    if fitted.feature.encoding == Encoding.HASHED:
        return _hashed_ids(fitted.feature, values)
    known = pa.array(fitted.vocabulary, type=values.type)
    ids = pc.index_in(values, value_set=known, skip_nulls=True)
    return np.asarray(pc.add(ids.cast(pa.int64()), 1).fill_null(0).to_numpy(zero_copy_only=False))


def _hashed_ids(f: Feature, values: pa.Array) -> Array:
    """MurmurHash3 (32 bits, seed 0, unsigned) mod buckets, plus 1; 0 for missing.

    Of a string its UTF-8 bytes are hashed, of an integer its 8 bytes, the lowest first: as ONNX Runtime's MurmurHash3.
    """
    coded = values.dictionary_encode()
    ids = np.array([0] + [_bucket(v, f.buckets) for v in coded.dictionary.to_pylist()], dtype=np.int64)
    return ids[np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)) + 1]


def _bucket(value: str | int, buckets: int) -> int:
    if value in (MISSING_STRING, MISSING_INT):
        return 0
    data = value.encode() if isinstance(value, str) else value.to_bytes(8, "little", signed=True)
    return int(mmh3.hash(data, 0, signed=False)) % buckets + 1


def prepare(encoders: Encoders, tower: TowerName, inputs: Mapping[str, Array]) -> dict[str, Tensor]:
    """The torch inputs of one tower from its ONNX inputs (see `inputs.to_inputs`).

    Raw values of looked-up features become int64 ids of the same shape; all else stays as it is.
    """
    tensors = {}
    for f in encoders.tower(tower):
        raw = inputs[f.feature.name]
        values = lookup(f, raw) if f.feature.encoding in LOOKED_UP else raw
        tensors[f.feature.name] = torch.tensor(values)
    if EVENT_TIME in inputs:
        tensors[EVENT_TIME] = torch.tensor(inputs[EVENT_TIME])
    return tensors


def prepare_table(encoders: Encoders, tower: TowerName, table: pa.Table, event_time: Array) -> dict[str, Tensor]:
    """The same from whole columns, without a Python object a value, and with ids stored as int32."""
    fitted = encoders.tower(tower)
    tensors = {f.feature.name: torch.tensor(_column(f, table[f.feature.name])) for f in fitted}
    if needs_event_time(tuple(f.feature for f in fitted)):
        tensors[EVENT_TIME] = torch.tensor(event_time)
    return tensors


def _column(fitted: Fitted, column: pa.ChunkedArray) -> Array:
    f = fitted.feature
    if f.encoding not in LOOKED_UP:
        return column_to_input(column, f)
    values = flat(column)
    ids = _ids(fitted, values.cast(pa.int64()) if f.dtype == Dtype.BOOL else values)
    if f.dtype not in (Dtype.STRINGS, Dtype.INTS):
        return ids.astype(np.int32)
    lengths = pc.list_value_length(column.combine_chunks()).fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    lists = pa.LargeListArray.from_arrays(offsets, pa.array(ids)).cast(ARROW_TYPES[Dtype.INTS])
    padded = column_to_input(lists, replace(f, dtype=Dtype.INTS))
    return np.where(padded == MISSING_INT, 0, padded).astype(np.int32)
