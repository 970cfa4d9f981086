"""Infer the format of times, and parse them.

A format is `iso`, a unit since 1970 (`s`, `ms`, `us`, `ns`, `min`, `h`, `days`), or a strptime format. A column with
several formats has them all, separated by ` | `; each value is read in the first format that fits.
"""

import re

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.datasets.tables import TIMESTAMP
from two_tower.errors import InputError
from two_tower.inputs import Array
from two_tower.starter.numbers import MOST_LOST, lost, numbers

UNITS = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3, "min": 60e6, "h": 3600e6, "days": 86_400e6}  # microseconds
EPOCHS = ("s", "ms", "us", "ns")  # units that are recognised in numbers without a name
_EARLIEST, _LATEST = 631_152_000e6, 2_051_222_400e6  # 1990 to 2035: other numbers are probably not times
_TIME_NAME = re.compile(r"time|date|stamp|_at$|^at$|_ts$|^ts$|when|day|created|updated|released|joined|since", re.I)
_NAMED = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?,? \w"
_TIME_LIKE = rf"^(\d{{4}}-\d|\d{{1,4}}[-/. ]\w{{1,9}}[-/., ] ?\d|{_NAMED}|\d{{8,}}([T .]\d+)?Z?$)"  # a cheap test first
_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y", "%Y.%m.%d", "%d-%b-%Y", "%d %b %Y"),
    *("%b %d, %Y", "%b %d %Y", "%B %d, %Y", "%d %B %Y", "%m %d, %Y", "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%y"),
)
_HOURS = (
    *("", " %H:%M:%S", " %H:%M", " %I:%M:%S %p", " %I:%M %p", " %H:%M:%S.%f"),
    *(", %H:%M:%S", ", %H:%M", ", %I:%M:%S %p"),
)
_WHOLE = (
    *("%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %Z"),
    *("%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d %I:%M:%S %p", "%Y-%m-%d %I:%M %p", "%Y-%m-%d %H", "%Y%m%dT%H%M%S"),
    *("%Y%m%dT%H%M%SZ", "%Y%m%d %H:%M:%S"),
)
DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}  # formats of numbers, by their number of digits
FORMATS = ("iso", *(day + hour for day in _DAYS for hour in _HOURS), *_WHOLE)
_SNIFFED = 500  # distinct values in the sample that selects the possible formats
_MOST_MIXED = 4  # formats in one column
_ISO = r"case when regexp_matches(v, '^\d{4}-\d{1,2}-\d{1,2}') then try_cast(v as timestamptz) end"


def is_time_name(name: str) -> bool:
    """Return whether the name of a column suggests a time."""
    return bool(_TIME_NAME.search(name))


def describe(how: str) -> str:
    """Return a format in words, for the user."""
    words = {"iso": "ISO 8601", "as is": "type of the file"} | {unit: f"{unit} since 1970" for unit in UNITS}
    return " or ".join(words.get(form, form) for form in how.split(" | "))


def swapped(form: str) -> str:
    """Return a format with the day and the month exchanged."""
    return form.translate(str.maketrans("dm", "md")) if "%d" in form and "%m" in form else form


def epoch_unit(column: pa.ChunkedArray) -> str | None:
    """Return the units in which at least 99 % of the numbers are times between 1990 and 2035, or None."""
    values = _finite(column)
    counts = {unit: int(_plausible(values * UNITS[unit]).sum()) for unit in EPOCHS}
    units = sorted((unit for unit in EPOCHS if counts[unit]), key=lambda unit: -counts[unit])
    covered = len(values) > 0 and sum(counts.values()) >= (1 - MOST_LOST) * len(values)
    return " | ".join(units) if covered else None


def format_of_numbers(column: pa.ChunkedArray) -> str | None:
    """Return the format in which at least 99 % of the numbers are times between 1990 and 2035, or None."""
    if unit := epoch_unit(column):
        return unit
    values = _finite(column)
    if not len(values) or (values != np.floor(values)).any():
        return None
    if _plausible(values * UNITS["days"]).mean() >= 1 - MOST_LOST:
        return "days"
    texts = pa.array(values.astype(np.int64)).cast(pa.string()).unique()
    form = DIGITS.get(len(texts[0].as_py()))
    if form is None or not readable(texts, form):
        return None
    micros = np.asarray(parse(texts, form).drop_null().cast(pa.int64()))
    return form if _plausible(micros).all() else None


def format_of_texts(distinct: pa.Array, name: str) -> str | None:
    """Return the format in which at least 99 % of the texts are times, or None.

    Args:
        distinct: Distinct texts.
        name: The name of the column. Numbers are times only if it suggests a time.
    """
    step = max(1, len(distinct) // _SNIFFED)
    sample = distinct.take(pa.array(np.arange(0, len(distinct), step)))
    if pc.mean(pc.match_substring_regex(sample, _TIME_LIKE).cast(pa.int8())).as_py() < 1 - 5 * MOST_LOST:
        return None
    formats = [*FORMATS, *((*DIGITS.values(), *EPOCHS) if is_time_name(name) else ())]
    fits = _fits(sample, formats)
    single = (formats[i] for i in np.flatnonzero(fits.mean(axis=1) >= 1 - 5 * MOST_LOST))
    return next((form for form in single if readable(distinct, form)), None) or _mixed(distinct, formats, fits)


def _mixed(distinct: pa.Array, formats: list[str], fits: Array) -> str | None:
    """Return the formats that together read at least 99 % of the texts, the most frequent first, or None."""
    chosen: list[str] = []
    left = np.ones(fits.shape[1], dtype=bool)
    while left.mean() > MOST_LOST and len(chosen) < _MOST_MIXED:
        best = int((fits & left).sum(axis=1).argmax())
        if not (fits[best] & left).any():
            break
        chosen.append(formats[best])
        left &= ~fits[best]
    if any(swapped(form) in chosen for form in chosen if swapped(form) != form):
        return None  # 01/02 could be either day
    how = " | ".join(chosen)
    return how if chosen and readable(distinct, how) else None


def _fits(sample: pa.Array, formats: list[str]) -> Array:
    """Return which texts are times in which formats: (formats, texts) bool. One query tries all formats."""
    columns = ", ".join(f"{_sql(form)} is not null as f{i}" for i, form in enumerate(formats))
    with _connection(sample) as connection:
        table = connection.sql(f"select {columns} from d").to_arrow_table()  # noqa: S608 - constant formats
    return np.stack([np.asarray(column) for column in table.columns])


def readable(distinct: pa.Array, how: str) -> bool:
    """Return whether at least 99 % of the texts are times in a format."""
    return lost(distinct, parse(distinct, how)) <= MOST_LOST * len(distinct)


def since_1970(values: pa.Array, unit: str) -> pa.Array:
    """Return the times that are `values` units after 1970.

    If at least 99 % of them are between 1990 and 2035, the others, such as 0 and -1, are missing.
    """
    micros = pc.round(pc.multiply(values.cast(pa.float64(), safe=False), UNITS[unit]))
    plausible = pc.and_(pc.greater_equal(micros, _EARLIEST), pc.less_equal(micros, _LATEST)).fill_null(False)
    known = len(values) - values.null_count
    keep = plausible if pc.sum(plausible.cast(pa.int64())).as_py() >= (1 - MOST_LOST) * known else pc.is_finite(micros)
    return pc.if_else(keep.fill_null(False), micros, None).cast(pa.int64(), safe=False).cast(TIMESTAMP)


def usual_years(instants: pa.Array) -> pa.Array:
    """Return the times with null for years outside 1700 to 2200, such as 9999-12-31 for "never"."""
    year = pc.year(instants)
    return pc.if_else(pc.and_(pc.greater_equal(year, 1700), pc.less_equal(year, 2200)), instants, None)


def parse_numbers(values: pa.Array, how: str) -> pa.Array:
    """Parse numbers as times in a format; null if a number is not valid."""
    if how in UNITS:
        return since_1970(values, how)
    finite = pc.if_else(pc.is_finite(values).fill_null(False), values, None)
    whole = pc.if_else(pc.equal(finite, pc.floor(finite)), finite, None).cast(pa.int64(), safe=False).cast(pa.string())
    return parse(pc.coalesce(whole, finite.cast(pa.string())), how)


def parse(texts: pa.Array, how: str) -> pa.Array:
    """Parse texts as times in a format, in UTC if they have no time zone; null if a text is not valid.

    Raises:
        InputError: If the format is not valid.
    """
    if how in UNITS:
        return since_1970(numbers(texts), how)
    times = ", ".join(_sql(form) for form in how.split(" | "))
    with _connection(texts) as connection:
        try:
            table = connection.sql(f"select coalesce({times}) as t from d").to_arrow_table()  # noqa: S608 - quoted formats
        except duckdb.Error as error:
            raise InputError(
                f"{how!r} is not a valid format of times: {error}. Use a strptime format, such as '%d.%m.%Y %H:%M', or "
                f"one of {', '.join(UNITS)}."
            ) from error
    return table["t"].cast(TIMESTAMP).combine_chunks()


def _sql(form: str) -> str:
    """Return SQL that reads the text v in a format; null for years outside 1700 to 2200, as %Y also parses 24."""
    if form in UNITS:
        micros = f"try_cast(v as double) * {UNITS[form]!r}"
        return f"case when {micros} between {_EARLIEST!r} and {_LATEST!r} then make_timestamp(({micros})::bigint) end"
    quoted = form.replace("'", "''")
    time = _ISO if form == "iso" else f"try_strptime(v, '{quoted}')::timestamptz"
    return f"case when year({time}) between 1700 and 2200 then {time} end"


def _connection(texts: pa.Array) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute("set timezone = 'UTC'")
    connection.register("d", pa.table({"v": texts}))
    return connection


def _finite(column: pa.ChunkedArray) -> Array:
    values = np.asarray(column.cast(pa.float64(), safe=False).drop_null())
    return np.asarray(values[np.isfinite(values)])


def _plausible(micros: Array) -> Array:
    return np.asarray((micros >= _EARLIEST) & (micros <= _LATEST))
