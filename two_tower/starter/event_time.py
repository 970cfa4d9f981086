"""Infer which column of the interactions has the time of the interaction."""

import pyarrow as pa

from two_tower.errors import InputError, unknown
from two_tower.starter import times, values
from two_tower.starter.keys import is_key_name
from two_tower.starter.source import Source

NO_TIMES = "none"  # value of --timestamp for interactions without times


def find_time(source: Source, timestamp: str | None, form: str | None) -> tuple[str, str] | None:
    """Find the time column of the interactions.

    Args:
        source: The interactions.
        timestamp: The column that the user named, or NO_TIMES. None: inferred.
        form: The format of the time that the user named. None: inferred.

    Returns:
        The column, and the kind of its values (see `values`). None if the interactions have no times.

    Raises:
        InputError: If a column has the name of a time but no readable times, or the named column does not exist or does
            not have times.
    """
    columns = source.table.column_names
    if timestamp == NO_TIMES and NO_TIMES not in columns:
        return None
    if timestamp is not None:
        _check(source, timestamp, "--timestamp")
        return timestamp, _time_kind(source, timestamp, form, certain=True)
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
    best = max(kinds, key=lambda c: (_time_rank(c, source.kinds[c]), len(source.table[c].unique())))
    return best, kinds[best]


def _time_rank(name: str, kind: str) -> int:
    by_name = 3 * ("timestamp" in name.lower()) or 2 * times.is_time_name(name)
    return by_name + kind.startswith("time") - 4 * is_key_name(name)


def _time_kind(source: Source, name: str, form: str | None, *, certain: bool) -> str:
    column = source.table[name]
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
        unit = times.epoch_unit(pa.chunked_array([values.read_as(column, name, "number").array]).cast(pa.float64()))
        if unit and (certain or kind == "integer"):
            return f"time {unit}"
    if certain:
        raise InputError(
            f"{source.name}: column {name!r} has values of kind {kind}, such as {column.drop_null()[0].as_py()!r}, and "
            "not times between 1990 and 2035 in a known format. Set --timestamp-format, such as '%d.%m.%Y %H:%M', or "
            "s, ms, us or ns."
        )
    return ""


def _check(source: Source, name: str, option: str) -> None:
    if name not in source.table.column_names:
        raise unknown(f"column of {source.name} for {option}", name, source.table.column_names)
