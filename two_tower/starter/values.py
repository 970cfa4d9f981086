"""Infer the kind of a column from its values, and parse the values.

The kinds are `integer`, `number`, `number 1,234.5`, `number 1.234,5`, `flag`, `text`, `words`, `vector`,
`list SEPARATOR`, `list []`, `as is`, and `time FORMAT`. The module `times` describes FORMAT.
"""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.datasets.delimited import words
from two_tower.datasets.tables import TIMESTAMP
from two_tower.errors import InputError
from two_tower.starter import times
from two_tower.starter.list_text import elements, list_kind, vectors
from two_tower.starter.numbers import MOST_LOST, number_form, numbers

_FLAGS = {"true": True, "t": True, "yes": True, "y": True, "false": False, "f": False, "no": False, "n": False}


@dataclass(frozen=True)
class Values:
    """The parsed values of a column.

    Attributes:
        array: The values.
        lost: The number of invalid values, which are missing now.
        example: An invalid value.
    """

    array: pa.Array
    lost: int = 0
    example: str = ""


def kind_of(column: pa.ChunkedArray, name: str, from_text: bool) -> str:
    """Infer the kind of a column. Numbers are times only if the name of the column suggests a time.

    Args:
        column: The column.
        name: The name of the column.
        from_text: Whether the file contains only text, so that "7" can be a number.

    Returns:
        The kind; see the module's docstring.
    """
    type_ = column.type
    if pa.types.is_boolean(type_):
        return "flag"
    if pa.types.is_timestamp(type_) or pa.types.is_date(type_):
        return "time as is"
    if pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_):
        return _number_kind(column, name)
    if pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_dictionary(type_):
        return _text_kind(column, name, from_text)
    return "as is"


def _number_kind(column: pa.ChunkedArray, name: str) -> str:
    numbers = column.cast(pa.float64(), safe=False).drop_null()
    whole = pa.types.is_integer(column.type) or bool(pc.all(pc.equal(numbers, pc.floor(numbers))).as_py())
    if times.is_time_name(name) and (form := times.format_of_numbers(numbers)):
        return f"time {form}"
    if whole and _fits(numbers):
        return "integer"
    return "text" if pa.types.is_integer(column.type) else "number"  # large ids: a float loses digits


def _fits(numbers: pa.ChunkedArray) -> bool:
    return len(numbers) == 0 or (pc.min(numbers).as_py() >= -(2**62) and pc.max(numbers).as_py() <= 2**62)


def _text_kind(column: pa.ChunkedArray, name: str, from_text: bool) -> str:
    distinct = _distinct(column)
    if not len(distinct):
        return "text"
    if from_text:
        form = number_form(distinct)
        if form:
            return f"number {form}"
        if form == "":
            return _code_or(_number_kind(pa.chunked_array([numbers(distinct)]), name), distinct)
        if {value.lower() for value in distinct.slice(0, 9).to_pylist()} <= set(_FLAGS):
            return "flag"
    if kind := list_kind(distinct):
        return kind
    form = times.format_of_texts(distinct, name)
    return f"time {form}" if form else "text"


def _code_or(kind: str, distinct: pa.Array) -> str:
    """Return text for integers with leading zeros, since 007 is a code and not 7, and for integers of many digits."""
    if kind == "integer":
        return "text" if pc.any(pc.match_substring_regex(distinct, r"^[-+]?0\d")).as_py() else kind
    return "text" if kind == "number" and pc.all(pc.match_substring_regex(distinct, r"^[-+]?\d+$")).as_py() else kind


def read_as(column: pa.ChunkedArray, name: str, kind: str) -> Values:
    """Parse the values of a column. At most 1 % invalid values become missing.

    Args:
        column: The column.
        name: The name of the column, for the error message.
        kind: The kind of the values.

    Returns:
        The values, and the number of invalid values.

    Raises:
        InputError: If more than 1 % of the values are invalid.
    """
    word, _, how = kind.partition(" ")
    if kind in ("as is", "time as is"):
        return Values(_plain(column, kind))
    if not pa.types.is_string(column.type):
        if pa.types.is_dictionary(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.string())
        elif word in ("text", "words", "list"):
            column = _numbers_as_text(column)
        else:
            return Values(_from_numbers(column, word, how))
    coded = column.combine_chunks().dictionary_encode()
    parsed = _parse(coded.dictionary, word, how)
    array = parsed.take(coded.indices)
    lost = array.null_count - coded.null_count
    example = ""
    if lost:
        invalid = coded.dictionary.filter(pc.and_(parsed.is_null(), coded.dictionary.is_valid()))
        example = invalid[0].as_py()
        if lost > MOST_LOST * len(array):
            expected = f"a time in the format {how!r}" if word == "time" else f"of kind {word!r}"
            raise InputError(
                f"column {name!r}: {lost} of {len(array)} values are not {expected}, such as {example!r}. Correct the "
                "values, or ignore the column."
            )
    return Values(array, lost, example)


def _plain(column: pa.ChunkedArray, kind: str) -> pa.Array:
    if kind == "as is":
        return column.combine_chunks()
    if pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("us"))
    if column.type.tz is None:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    return times.usual_years(column.cast(TIMESTAMP, safe=False).combine_chunks())


def _from_numbers(column: pa.ChunkedArray, word: str, how: str) -> pa.Array:
    if word == "flag":
        return column.cast(pa.bool_()).combine_chunks()
    if word == "integer":
        whole = column if pa.types.is_integer(column.type) else pc.round(column)
        return whole.cast(pa.int64()).combine_chunks()
    numbers = column.cast(pa.float64(), safe=False).combine_chunks()
    return times.parse_numbers(numbers, how) if word == "time" else _float32(numbers)


def _float32(numbers: pa.Array) -> pa.Array:
    """Cast to float32; NaN and infinite numbers are missing."""
    cast = numbers.cast(pa.float32())
    return pc.if_else(pc.is_finite(cast), cast, pa.scalar(None, pa.float32()))


def _numbers_as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        if bool(pc.all(pc.equal(column, pc.floor(column))).as_py()):
            column = column.cast(pa.int64())  # pandas writes integers with missing values as floats
    return column.cast(pa.string())


def _parse(distinct: pa.Array, word: str, how: str) -> pa.Array:
    """Parse each distinct text; null if it is invalid."""
    match word:
        case "text":
            return distinct
        case "integer":
            return _integers(distinct)
        case "number":
            return _float32(numbers(distinct, how))
        case "flag":
            return pa.array([None if v is None else _FLAGS.get(v.lower()) for v in distinct.to_pylist()], pa.bool_())
        case "time":
            return times.parse(distinct, how)
        case "words":
            return _listed(distinct, words)
        case "vector":
            return vectors(distinct)
        case "list" if how == "[]":
            return _listed(distinct, elements)
        case "list":
            return _listed(distinct, lambda text: [part.strip() for part in text.split(how) if part.strip()])
    raise AssertionError(word)


def _listed(distinct: pa.Array, split: object) -> pa.Array:
    assert callable(split)
    return pa.array([None if v is None else split(v) for v in distinct.to_pylist()], pa.list_(pa.string()))


def _integers(distinct: pa.Array) -> pa.Array:
    """Parse texts as integers, also 17850.0. Integers with up to 18 digits stay exact, unlike floats."""
    digits = pc.match_substring_regex(distinct, r"^-?\d{1,18}$")
    exact = pc.if_else(digits, distinct, pa.scalar(None, pa.string())).cast(pa.int64())
    return pc.coalesce(exact, pc.round(numbers(distinct)).cast(pa.int64()))


def _distinct(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks().cast(pa.string()).unique().drop_null()


def skewed(numbers: pa.Array) -> bool:
    """Return whether the distribution of numbers is so skewed that quantile bins encode them better than one number."""
    known = np.asarray(numbers.drop_null().cast(pa.float64()))
    if len(known) < 2:
        return False
    low, middle, high = np.quantile(known, (0.01, 0.5, 0.99))
    spread = max(middle - low, high - middle)
    return bool(spread > 4 * max(min(middle - low, high - middle), 1e-12)) and math.isfinite(spread)
