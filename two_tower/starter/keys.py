"""Which columns of plain tables are the keys and the time, told from names and from values that meet."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
import pyarrow as pa

from two_tower.errors import InputError, unknown
from two_tower.starter import values

_SAMPLE = 20_000  # distinct values of a column that are looked up in another
_LEAST_MET = 0.5  # share of the interactions' keys that the other table must know, where the names are not the same
_USER = re.compile(
    r"user|customer|client|member|visitor|person|account|buyer|reader|viewer|uid|^uuid$|cust|subscriber", re.I
)
_ITEM = re.compile(
    r"item|product|article|movie|film|sku|stock|song|track|book|listing|video|game|news|content|asin|isbn|offer|"
    r"place|poi|post|ad_?id|recipe|course",
    re.I,
)
_IS_KEY = re.compile(r"(^|_|[a-z])(id|key|no|nr|code|number)$", re.I)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A table as read. from_text: its file holds text only; named: its columns have names of their own."""

    name: str
    table: pa.Table
    from_text: bool
    named: bool

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each column (see `values`)."""
        return {name: values.kind_of(self.table[name], name, self.from_text) for name in self.table.column_names}


@dataclass(frozen=True, kw_only=True)
class Key:
    """events: the key's column in the interactions; own: in the table of users or items, None where there is none."""

    events: str
    own: str | None
    integer: bool
    why: str


def find_time(source: Source, given: str | None, form: str | None) -> tuple[str, str]:
    """The column of the interactions that says when, and its kind. Raises InputError where none does."""
    if given is not None:
        _check(source, given, "--timestamp")
        return given, _time_kind(source, given, form, certain=True)
    found = {c: kind for c in source.table.column_names if (kind := _time_kind(source, c, form, certain=False))}
    if not found:
        raise InputError(
            f"{source.name}: no column says when something happened, and without it the future cannot be kept out. "
            f"Columns: {', '.join(source.table.column_names)}. Name it: --timestamp COLUMN (--timestamp-format FORMAT)."
        )
    best = max(found, key=lambda c: (_time_rank(c, source.kinds[c]), len(source.table[c].unique())))
    return best, found[best]


def _time_rank(name: str, kind: str) -> int:
    said = 3 * ("timestamp" in name.lower()) or 2 * values.is_time_name(name)
    return said + kind.startswith("time") - 4 * bool(_IS_KEY.search(name))


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
        unit = values.epoch_unit(pa.chunked_array([values.read_as(column, name, "number").array]).cast(pa.float64()))
        if unit and (certain or kind == "integer"):
            return f"time {unit}"
    if certain:
        raise InputError(
            f"{source.name}: column {name!r} holds {kind}, such as {column.drop_null()[0].as_py()!r}, and no times of "
            "1990 to 2035 in a known form. Say the form: --timestamp-format '%d.%m.%Y %H:%M', or s, ms, us, ns."
        )
    return ""


def find_keys(
    events: Source, tables: Mapping[str, Source | None], time: str, given: Mapping[str, str | None]
) -> dict[str, Key]:
    """The keys of users and items. tables, given: by `user` and `item`; a table may be absent, and a name not given.

    Raises InputError where a name given is in no table, and where nothing tells a key.
    """
    columns = [c for c in events.table.column_names if c != time and events.kinds[c] in ("integer", "text")]
    found = {who: _candidates(who, events, tables[who], columns, given[who]) for who in ("user", "item")}
    pairs = [p for p in product(found["user"], found["item"]) if p[0][1] != p[1][1]]
    if not pairs:
        who = next((w for w in found if not found[w]), "item")
        option = f"--{who}-key COLUMN"
        raise InputError(
            f"{events.name}: which column names the {who}? None of {', '.join(columns) or 'its columns'} does by its "
            f"name or its values. Say it: {option}."
        )
    best = max(pairs, key=lambda pair: pair[0][0] + pair[1][0])
    return {who: _key(one, events, tables[who]) for who, one in zip(("user", "item"), best, strict=True)}


_Candidate = tuple[float, str, str | None, str]  # how good, column of the interactions, column of the table, why


def _candidates(
    who: str, events: Source, table: Source | None, columns: list[str], given: str | None
) -> list[_Candidate]:
    known = {*events.table.column_names, *(table.table.column_names if table else ())}
    if given is not None and given not in known:
        raise unknown(f"column for --{who}-key", given, known)
    here = [given] if given is not None and given in events.table.column_names else columns
    if table is None:
        return [c for i, name in enumerate(here) if (c := _by_name(who, events, name, i, given))]
    own = [c for c in table.table.column_names if table.kinds[c] in ("integer", "text")]
    if given is not None and given in table.table.column_names:
        own = [given]
    sets = {c: _texts(table, c) for c in own}
    met = [c for name in here for o in own if (c := _by_values(who, events, name, table, o, sets[o]))]
    if not met:
        raise InputError(
            f"{table.name}: no column holds the values that name the {who}s in {events.name} "
            f"(columns there: {', '.join(here)}; here: {', '.join(own)}). Give the right file, or --{who}-key COLUMN."
        )
    return met


def _named(who: str, name: str) -> bool:
    return bool((_USER if who == "user" else _ITEM).search(name))


def _by_name(who: str, events: Source, name: str, place: int, given: str | None) -> _Candidate | None:
    if name == given:
        return 9.0, name, None, "as given"
    if not events.named:  # the order that such files have: user, item, whatever else
        return (1.0, name, None, "by its place") if place == (who == "item") else None
    if not _named(who, name):
        return None
    return 1 + 0.5 * bool(_IS_KEY.search(name)), name, None, "by its name"


def _by_values(who: str, events: Source, name: str, table: Source, own: str, there: pa.Array) -> _Candidate | None:
    here = _texts(events, name)
    sample = here.take(pa.array(np.linspace(0, len(here) - 1, min(_SAMPLE, len(here))).astype(np.int64)))
    met = np.isin(np.asarray(sample, dtype=object).astype(str), np.asarray(there, dtype=object).astype(str)).mean()
    if met < (_LEAST_MET if name != own else 1e-9):
        return None
    covered = min(1.0, met * len(here) / len(there))
    unique = len(there) / table.table.num_rows
    score = 2 * met + covered + unique + (name == own) + 0.5 * _named(who, name) + 0.5 * bool(_IS_KEY.search(own))
    return score, name, own, f"{met:.0%} of its values are in {table.name}, column {own!r}"


def _texts(source: Source, name: str) -> pa.Array:
    """The distinct values of a column as text, so that 7, "7" and 7.0 meet."""
    kind = "integer" if source.kinds[name] == "integer" else "text"
    return values.read_as(source.table[name], name, kind).array.unique().drop_null().cast(pa.string())


def _key(found: _Candidate, events: Source, table: Source | None) -> Key:
    _, name, own, why = found
    columns = [(events, name)] + ([(table, own)] if table and own else [])
    integer = all(
        source.kinds[c] == "integer" and not values.read_as(source.table[c], c, "integer").lost for source, c in columns
    )
    return Key(events=name, own=own, integer=integer, why=why)


def _check(source: Source, name: str, option: str) -> None:
    if name not in source.table.column_names:
        raise unknown(f"column of {source.name} for {option}", name, source.table.column_names)
