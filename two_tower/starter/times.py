"""Infer the format of times, and parse them."""

import re

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.datasets.tables import TIMESTAMP
from two_tower.starter.numbers import MOST_LOST, lost

EPOCHS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EARLIEST, _LATEST = 631_152_000, 2_051_222_400  # 1990 to 2035, in seconds: other numbers are probably not times
_TIME_NAME = re.compile(r"time|date|stamp|_at$|^at$|_ts$|^ts$|when|day|created|updated|released|joined|since", re.I)
_TIME_LIKE = r"^(\d{4}-\d|\d{1,4}[-/. ]\w{1,3}[-/. ]\d|[A-Za-z]{3} \d)"  # a cheap test before all formats are tried
_DAYS = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%d-%b-%Y", "%d %b %Y", "%b %d, %Y", "%m/%d/%y")
_HOURS = ("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f")
FORMATS = ("iso", *(day + hour for day in _DAYS for hour in _HOURS))
_SNIFFED = 1000  # distinct values in the sample that selects the possible time formats


def is_time_name(name: str) -> bool:
    """Return whether the name of a column suggests a time."""
    return bool(_TIME_NAME.search(name))


def epoch_unit(numbers: pa.ChunkedArray) -> str | None:
    """Return the unit (s, ms, us or ns) in which all numbers are times between 1990 and 2035, or None."""
    if not len(numbers):
        return None
    low, high = pc.min(numbers).as_py(), pc.max(numbers).as_py()
    return next((u for u, per in EPOCHS.items() if _EARLIEST * per <= low and high <= _LATEST * per), None)


def time_format(distinct: pa.Array) -> str | None:
    """Return the first format of FORMATS in which at least 99 % of the texts are times, or None."""
    step = max(1, len(distinct) // _SNIFFED)
    sample = distinct.take(pa.array(np.arange(0, len(distinct), step)))
    if pc.mean(pc.match_substring_regex(sample, _TIME_LIKE).cast(pa.int8())).as_py() < 1 - 5 * MOST_LOST:
        return None
    return next((form for form in _likely(sample) if readable(distinct, form)), None)


def _likely(sample: pa.Array) -> list[str]:
    """Return the formats in which nearly all texts of a sample are times; one query tries all formats."""
    columns = ", ".join(f"count({_guarded(_ISO if f == 'iso' else _OTHER.replace('?', repr(f)))})" for f in FORMATS)
    with _connection(sample) as connection:
        (counts,) = connection.sql(f"select {columns} from d").fetchall()  # noqa: S608 - constant formats
    return [f for f, n in zip(FORMATS, counts, strict=True) if n >= (1 - 5 * MOST_LOST) * len(sample)]


def readable(distinct: pa.Array, form: str) -> bool:
    """Return whether at least 99 % of the texts are times in a format."""
    return lost(distinct, parse(distinct, form)) <= MOST_LOST * len(distinct)


def since_1970(numbers: pa.Array, unit: str) -> pa.Array:
    """Return the times that are `numbers` units after 1970."""
    micros = pc.round(pc.multiply(numbers, 10**6 / EPOCHS[unit])).cast(pa.int64(), safe=False)
    return micros.cast(TIMESTAMP)


_ISO = r"case when regexp_matches(v, '^\d{4}-\d{1,2}-\d{1,2}') then try_cast(v as timestamptz) end"
_OTHER = "try_strptime(v, ?) at time zone 'UTC'"


def _guarded(time: str) -> str:
    """Return SQL for a time that is null if its year has fewer than four digits: %Y also parses 24."""
    return f"case when year({time}) between 1000 and 9999 then {time} end"


def _connection(texts: pa.Array) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("d", pa.table({"v": texts}))
    return connection


def parse(distinct: pa.Array, form: str) -> pa.Array:
    """Parse texts as times in a format, in UTC if they have no time zone; null if a text is invalid."""
    time = _guarded(_ISO if form == "iso" else _OTHER.replace("?", "$form"))
    with _connection(distinct) as connection:
        times = connection.sql(f"select {time} as t from d", params=None if form == "iso" else {"form": form})  # noqa: S608
        return times.to_arrow_table()["t"].cast(TIMESTAMP).combine_chunks()
