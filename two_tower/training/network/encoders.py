"""Feature encoders, fitted on the training rows, and the look-up of ids.

Strings and ids are looked up here, because torch does not support strings; the exported files have the same look-up as
ONNX nodes. Every other transformation is inside the torch module (see `layers`), and so in the exported graph.
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
from two_tower.errors import InputError
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
from two_tower.training.network import feature_encoders as feature_encoders  # registers them
from two_tower.training.network.fitted import Fitted, encoder, is_looked_up

LOOKED_UP: Final = (Dtype.STRING, Dtype.INT64, Dtype.BOOL, Dtype.STRINGS, Dtype.INTS)  # dtypes with a look-up
TOWERS: Final[tuple[TowerName, TowerName]] = ("user", "item")


@dataclass(frozen=True)
class Encoders:
    """The fitted features of both towers, in the contract's order."""

    user: tuple[Fitted, ...]
    item: tuple[Fitted, ...]

    def tower(self, name: TowerName) -> tuple[Fitted, ...]:
        return self.user if name == "user" else self.item

    def to_dict(self) -> dict[str, Any]:
        """Return all but the features themselves, which the contract has."""
        return {name: [_to_dict(f) for f in self.tower(name)] for name in TOWERS}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], contract: Contract) -> "Encoders":
        """Return the inverse of `to_dict`, also after conversion to JSON and back."""
        user, item = (
            tuple(_restore(f, values) for f, values in zip(contract.tower(name), data[name], strict=True))
            for name in TOWERS
        )
        return cls(user, item)


def _to_dict(fitted: Fitted) -> dict[str, Any]:
    return {k: v for k, v in asdict(fitted).items() if k != "feature" and (v or k != "learned")}


def _restore(f: Feature, values: Mapping[str, Any]) -> Fitted:
    restored: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Fitted(feature=f, **restored)


def fit(pulled: Pulled) -> Encoders:
    """Fit the encoder of every feature on the training rows and on the items that existed when training ended.

    An item without a training row has no interactions to learn an id from, so ids come from the training rows alone;
    the contents of such items (categories, prices) come from the catalogue too.

    Raises:
        InputError: A plug-in encoder cannot be imported.
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
    """Return the categorical item feature whose values are those of the join key, or None."""
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
    """Give a history the vocabulary and embedding table of the item ids, if its elements have their type."""
    elements = {Dtype.STRINGS: Dtype.STRING, Dtype.INTS: Dtype.INT64}
    if fitted.feature.encoding != Encoding.HISTORY or not ids or elements[fitted.feature.dtype] != ids.feature.dtype:
        return fitted
    return replace(fitted, vocabulary=ids.vocabulary, table=ids.table)


def fit_feature(f: Feature, column: pa.ChunkedArray, seconds: Array, table: str) -> Fitted:
    """Fit one feature.

    Args:
        f: The feature.
        column: Values of the training rows.
        seconds: (rows,) int64, event time of each row.
        table: Name of its embedding table, if it has one.

    Raises:
        InputError: A plug-in encoder cannot be imported, or needs a look-up for this dtype.
    """
    used = encoder(f)
    if used.lookup and f.dtype not in LOOKED_UP:
        raise InputError(f"field {f.name!r}: {f.encoding} has a look-up, which the dtype {f.dtype} does not support.")
    if used.lookup == "vocabulary":
        return Fitted(feature=f, table=table, vocabulary=_vocabulary(f, column))
    if used.lookup == "hash":
        return Fitted(feature=f, table=table)
    if f.dtype in (Dtype.STRING, Dtype.STRINGS):
        raise InputError(f"field {f.name!r}: {f.encoding} needs a look-up for the dtype {f.dtype}. Set its `lookup`.")
    fitted = used.fit(f, column_to_input(column, f), seconds)
    return replace(fitted, table=table) if used.table_rows(fitted) else fitted


def _vocabulary(f: Feature, column: pa.ChunkedArray) -> tuple[Any, ...]:
    """Return the values seen `min_count` times or more, the most frequent first."""
    if f.dtype == Dtype.BOOL:
        return (0, 1)
    counted = flat(column).value_counts()
    return frequent(f, counted.field("values"), counted.field("counts"))


def frequent(f: Feature, values: pa.Array, counts: pa.Array) -> tuple[Any, ...]:
    """Return a vocabulary from distinct values and their counts: `min_count` or more, the most frequent first."""
    missing = (None, MISSING_STRING, MISSING_INT)
    kept = [
        (-n, v)
        for v, n in zip(values.to_pylist(), counts.to_pylist(), strict=True)
        if n >= f.min_count and v not in missing
    ]
    return tuple(v for _, v in sorted(kept))


def flat(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the values of a column; of lists, their elements one after another."""
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return values.flatten() if pa.types.is_list(values.type) or pa.types.is_large_list(values.type) else values


def lookup(fitted: Fitted, raw: Array) -> Array:
    """Return the ids of raw values, int64 of the same shape; 0 for unknown or missing.

    Args:
        fitted: The fitted feature.
        raw: Strings or int64 of any shape.
    """
    assert is_looked_up(fitted.feature)
    kind = pa.string() if raw.dtype.kind in "OU" else pa.int64()
    return _ids(fitted, pa.array(raw.ravel(), type=kind)).reshape(raw.shape)


def _ids(fitted: Fitted, values: pa.Array) -> Array:
    if encoder(fitted.feature).lookup == "hash":
        return _hashed_ids(fitted.feature, values)
    known = pa.array(fitted.vocabulary, type=values.type)
    ids = pc.index_in(values, value_set=known, skip_nulls=True)
    return np.asarray(pc.add(ids.cast(pa.int64()), 1).fill_null(0).to_numpy(zero_copy_only=False))


def _hashed_ids(f: Feature, values: pa.Array) -> Array:
    """MurmurHash3 (32 bits, seed 0, unsigned) mod buckets, plus 1; 0 for missing.

    Strings are hashed as UTF-8, integers as 8 bytes in little-endian order, as ONNX Runtime's MurmurHash3 does.
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
    """Convert the ONNX inputs of a tower to its torch inputs.

    Args:
        encoders: Fitted encoders.
        tower: Name of the tower.
        inputs: Arrays by name, see `inputs.to_inputs`.

    Returns:
        Tensors by name. Raw values of looked-up features become int64 ids of the same shape; the rest is unchanged.
    """
    tensors = {}
    for f in encoders.tower(tower):
        raw = inputs[f.feature.name]
        values = lookup(f, raw) if is_looked_up(f.feature) else raw
        tensors[f.feature.name] = torch.tensor(values)
    if EVENT_TIME in inputs:
        tensors[EVENT_TIME] = torch.tensor(inputs[EVENT_TIME])
    return tensors


def prepare_table(encoders: Encoders, tower: TowerName, table: pa.Table, event_time: Array) -> dict[str, Tensor]:
    """Do the same with whole columns, without a Python object for each value, and with int32 ids."""
    fitted = encoders.tower(tower)
    tensors = {f.feature.name: torch.tensor(_column(f, table[f.feature.name])) for f in fitted}
    if needs_event_time(tuple(f.feature for f in fitted)):
        tensors[EVENT_TIME] = torch.tensor(event_time)
    return tensors


def _column(fitted: Fitted, column: pa.ChunkedArray) -> Array:
    f = fitted.feature
    if not is_looked_up(f):
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
