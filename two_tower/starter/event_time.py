"""Infer which column of the interactions has the time of the interaction."""

import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.errors import InputError, unknown
from two_tower.starter import times, values
from two_tower.starter.keys import is_key_name
from two_tower.starter.numbers import numbers
from two_tower.starter.source import Source

NO_TIMES = "none"  # value of --timestamp for interactions without times
_STAMP = re.compile(r"timestamp|^ts$|_ts$", re.I)
_OF_EVENT = re.compile(
    r"event|interact|click|view|watch|listen|play|order|purchas|bought|invoice|transaction|rated|rating|review|visit|"
    r"session|creat|add|post|^(date|time|datetime|at|when)$",
    re.I,
)
_OF_OTHER = re.compile(
    r"updat|modif|edit|deliver|ship|return|refund|cancel|expir|due|deadline|birth|sign_?up|regist|join|releas|publish|"
    r"launch|first|last|end|until|valid|load|insert|ingest|sync|export|process|partition|etl|estimat",
    re.I,
)
_MOST_MISSING = 0.05  # a column with a larger share of missing times is probably not the time of the interaction


@dataclass(frozen=True)
class Time:
    """The time column of the interactions.

    Attributes:
        column: The name of the column.
        kind: The kind of its values (see `values`).
        why: The reason, for the user.
    """

    column: str
    kind: str
    why: str


def find_time(source: Source, timestamp: str | None, form: str | None) -> Time | None:
    """Find the time column of the interactions.

    Of several columns with times, the best one has a name that suggests an interaction, has a time in nearly all rows,
    has hours, and has many distinct values.

    Args:
        source: The interactions.
        timestamp: The column that the user named, or NO_TIMES. None: inferred.
        form: The format of the time that the user named. None: inferred.

    Returns:
        The time column. None if the interactions have no times.

    Raises:
        InputError: If a column has the name of a time but no readable times, or the named column does not exist or does
            not have times.
    """
    columns = source.table.column_names
    if timestamp == NO_TIMES and NO_TIMES not in columns:
        return None
    if timestamp is not None:
        if timestamp not in columns:
            raise unknown(f"column of {source.name} for --timestamp", timestamp, columns)
        kind = _time_kind(source, timestamp, form, certain=True)
        return Time(timestamp, kind, "time of the interaction: set by --timestamp")
    kinds = {c: kind for c in columns if (kind := _time_kind(source, c, form, certain=False))}
    unread = [c for c in columns if form or times.is_time_name(c)]
    if not kinds and unread:
        raise InputError(
            f"{source.name}: no column has the time of the interaction in a known format. Columns that may have it: "
            f"{', '.join(unread)}. Set --timestamp COLUMN and --timestamp-format FORMAT, or --timestamp {NO_TIMES} for "
            "a split without times."
        )
    if not kinds:
        return None
    best = max(kinds, key=lambda c: _rank(source, c, kinds[c])) if len(kinds) > 1 else next(iter(kinds))
    others = [c for c, kind in kinds.items() if c != best and source.kinds[c].startswith("time")]
    why = "time of the interaction"
    if others:
        why += f", by its name and values; other times: {', '.join(others)} (--timestamp COLUMN selects another)"
    return Time(best, kinds[best], why)


def _rank(source: Source, name: str, kind: str) -> tuple[float, ...]:
    column = source.table[name]
    instants = values.read_as(column, name, kind).array
    missing = instants.null_count > _MOST_MISSING * len(instants)
    micros = np.asarray(instants.drop_null().cast(pa.int64()))
    has_hours = bool((micros % 86_400_000_000).any())
    by_name = 2 * bool(_OF_EVENT.search(name)) + 3 * bool(_STAMP.search(name)) - 4 * bool(_OF_OTHER.search(name))
    is_time = source.kinds[name].startswith("time")
    return by_name + is_time - 4 * missing - 4 * is_key_name(name), has_hours, pc.count_distinct(instants).as_py()


def _time_kind(source: Source, name: str, form: str | None, *, certain: bool) -> str:
    """Return the kind of a column with times; an empty text if it has none."""
    column = source.table[name]
    if form is not None and certain and source.kinds[name] == "time as is":
        raise InputError(f"{source.name}: column {name!r} has the type {column.type}. Leave out --timestamp-format.")
    if form is not None and (certain or column.null_count < len(column)):
        kind = f"time {form}"
        try:
            values.read_as(column, name, kind)
        except (InputError, pa.ArrowInvalid):
            if certain:
                raise
            return ""
        return kind
    kind = source.kinds[name]
    if kind.startswith("time"):
        return kind
    if kind in ("integer", "number"):
        plain = _numbers(column)
        unit = times.format_of_numbers(plain) if certain else times.epoch_unit(plain)
        if unit and (certain or kind == "integer"):
            return f"time {unit}"
    if certain:
        example = column.drop_null()[0].as_py() if column.null_count < len(column) else None
        raise InputError(
            f"{source.name}: column {name!r} has values of kind {kind}, such as {example!r}, and not times between "
            "1990 and 2035 in a known format. Set --timestamp-format, such as '%d.%m.%Y %H:%M', or one of "
            f"{', '.join(times.UNITS)} since 1970."
        )
    return ""


def _numbers(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return column
    return pa.chunked_array([numbers(column.cast(pa.string()).combine_chunks().unique())])
