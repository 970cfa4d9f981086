"""Filters on item columns: {"genre": ["Drama"], "price": {"max": 20}} becomes a mask over the items."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.errors import unknown
from two_tower.inputs import Array
from two_tower.recommender.errors import RequestError, invalid
from two_tower.recommender.values import ELEMENTS, scalar_value
from two_tower.schema import POPULARITY, Contract, Dtype

MAX_VALUES = 1000  # values in the condition on one column
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBERS = (Dtype.INT64, Dtype.FLOAT32, Dtype.FLOAT64)
_RANGED = (*_NUMBERS, Dtype.TIMESTAMP)


@dataclass(frozen=True, slots=True)
class Clause:
    """The condition on one column: value in `values`, or least <= value <= most. Missing values never pass.

    Attributes:
        column: name of the column. A column of lists passes if one of its elements does.
        dtype: dtype of the column.
        values: allowed values; None for a range.
        least: lower bound of a range; None if it is open.
        most: upper bound of a range; None if it is open.
    """

    column: str
    dtype: Dtype
    values: frozenset[Any] | None = None
    least: Any = None
    most: Any = None


Filter = tuple[Clause, ...]  # all conditions must hold


def filterable(contract: Contract) -> dict[str, Dtype]:
    """Columns of items.parquet that a filter may name, with their dtypes: all but vectors."""
    columns = {f.name: f.dtype for f in contract.item if f.dtype != Dtype.FLOATS}
    return columns | {contract.item_key: contract.item_key_dtype, POPULARITY: Dtype.FLOAT64}


def parse(value: Any, contract: Contract) -> Filter:
    """Check the filter of a request.

    Args:
        value: object by item column: a value, a list of values, or a range `{"min": a, "max": b}`.
        contract: feature contract of the release.

    Raises:
        RequestError: 422; the message names the column and its allowed values.
    """
    if not isinstance(value, dict):
        raise invalid(f"filter is {value!r:.60}.", 'It must be an object by item column, e.g. {"price": {"max": 20}}.')
    columns = filterable(contract)
    for name in value:
        if name not in columns:
            raise invalid(str(unknown("column of filter", name[:100], columns)), "Remove it, or correct its name.")
    return tuple(_clause(name, columns[name], value[name]) for name in sorted(value))


def _clause(name: str, dtype: Dtype, value: Any) -> Clause:
    if isinstance(value, dict):
        return _range(name, dtype, value)
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MAX_VALUES:
        raise _wrong(name, f"a list of 1 to {MAX_VALUES} values, not {len(values)}")
    kind = ELEMENTS.get(dtype, dtype)
    return Clause(name, dtype, frozenset(_comparable(scalar_value(_label(name), one, kind), kind) for one in values))


def _range(name: str, dtype: Dtype, value: Mapping[str, Any]) -> Clause:
    if dtype not in _RANGED:
        raise _wrong(name, f"a value or a list of values, because it is a {dtype}")
    if not value or set(value) - {"min", "max"}:
        raise _wrong(name, 'an object with "min", "max" or both')
    kind = Dtype.FLOAT64 if dtype == Dtype.INT64 else dtype  # 20.5 may bound whole numbers
    bounds = {
        end: bound
        if type(bound) is int and dtype == Dtype.INT64
        else scalar_value(f"{end} of {_label(name)}", bound, kind)
        for end, bound in value.items()
    }
    if dtype == Dtype.INT64:
        least, most = bounds.get("min"), bounds.get("max")
        clipped = (None if least is None else math.ceil(least), None if most is None else math.floor(most))
        return Clause(name, dtype, None, *(None if v is None else min(max(v, -(2**63)), 2**63 - 1) for v in clipped))
    least, most = (None if end not in bounds else _comparable(bounds[end], dtype) for end in ("min", "max"))
    return Clause(name, dtype, None, least, most)


def _comparable(value: Any, dtype: Dtype) -> Any:
    """Convert a value to the form of the column: a number is rounded to float32, a time becomes microseconds."""
    if dtype == Dtype.FLOAT32:
        return float(np.float32(value))
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(microseconds=1)
    return value


def _label(name: str) -> str:
    return f"filter {name!r}"


def _wrong(name: str, takes: str) -> RequestError:
    return invalid(f"{_label(name)} takes {takes}.", 'E.g. {"genre": ["Drama"], "price": {"max": 20}}.')


class Columns:
    """The columns of a table of items. Each is prepared for filters at its first use."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table
        self._coded: dict[str, _Coded] = {}
        self._numbers: dict[str, tuple[Array, Array]] = {}

    def rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """A few rows as dictionaries by column."""
        return list(self._table.take(pa.array(rows, pa.int64())).to_pylist())

    def mask(self, filters: Filter) -> Array:
        """Mask of the rows that pass all conditions, (rows,) bool."""
        mask = np.ones(self._table.num_rows, dtype=bool)
        for clause in filters:
            mask &= self._within(clause) if clause.values is None else self._among(clause.column, clause.values)
        return mask

    def _among(self, name: str, values: frozenset[Any]) -> Array:
        coded = self._coded.get(name) or self._coded.setdefault(name, _Coded(self._table[name]))
        return coded.among(values)

    def _within(self, clause: Clause) -> Array:
        if clause.column not in self._numbers:
            self._numbers[clause.column] = _numbers(self._table[clause.column])
        values, known = self._numbers[clause.column]
        mask = known.copy()
        if clause.least is not None:
            mask &= values >= clause.least
        if clause.most is not None:
            mask &= values <= clause.most
        return mask


class _Coded:
    """Dictionary-encoded values of a column, or elements of its lists."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = column.combine_chunks()
        self._rows = len(values)
        self._parents: Array | None = None
        if pa.types.is_list(values.type):
            self._parents = pc.list_parent_indices(values).to_numpy()
            values = pc.list_flatten(values)
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
        encoded = values.dictionary_encode()
        self._codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        self._code_of = {value: code for code, value in enumerate(encoded.dictionary.to_pylist())}

    def among(self, values: frozenset[Any]) -> Array:
        allowed = np.zeros(len(self._code_of) + 1, dtype=bool)  # the last entry, at -1, is a missing value's
        for value in values:
            if (code := self._code_of.get(value)) is not None:
                allowed[code] = True
        passing = allowed[self._codes]
        if self._parents is None:
            return passing
        mask = np.zeros(self._rows, dtype=bool)
        mask[self._parents[passing]] = True
        return mask


def _numbers(column: pa.ChunkedArray) -> tuple[Array, Array]:
    """Values, and the mask of those that are not missing. Comparisons with NaN are false anyway."""
    values = column.combine_chunks()
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return values.fill_null(0).to_numpy(zero_copy_only=False), values.is_valid().to_numpy(zero_copy_only=False)
