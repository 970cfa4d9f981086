"""Infer the key columns of plain tables from names and from common values."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import pyarrow as pa

from two_tower.errors import InputError, unknown
from two_tower.starter import values
from two_tower.starter.source import Source

_SAMPLE = 20_000  # the comparison of two columns uses at most this many distinct values
_LEAST_MET = 0.5  # columns with different names need at least this share of common values
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
class Key:
    """The key of users or items.

    Attributes:
        events: The column of the key in the interactions.
        own: The column of the key in the table of users or items. None if there is no table.
        integer: Whether the keys are integers. Otherwise they are strings.
        why: The reason, for the user.
    """

    events: str
    own: str | None
    integer: bool
    why: str


def find_keys(
    events: Source, tables: Mapping[str, Source | None], time: str | None, options: Mapping[str, str | None]
) -> dict[str, Key]:
    """Find the keys of users and items.

    Args:
        events: The interactions.
        tables: The tables of users and items, by `user` and `item`. None: no table.
        time: The time column of the interactions. None: there is none.
        options: The key columns that the user named, by `user` and `item`. None: inferred.

    Returns:
        The keys, by `user` and `item`.

    Raises:
        InputError: If a named column does not exist, or a key cannot be inferred.
    """
    columns = [c for c in events.table.column_names if c != time and events.kinds[c] in ("integer", "text")]
    check_key_options(events, tables, options)
    candidates = {who: _candidates(who, events, tables[who], columns, options[who]) for who in ("user", "item")}
    pairs = [p for p in product(candidates["user"], candidates["item"]) if p[0][1] != p[1][1]]
    if not pairs:
        who = next((w for w in candidates if not candidates[w]), "item")
        raise InputError(
            f"{events.name}: cannot infer the column of the {who} id from the names and values of "
            f"{', '.join(columns) or 'its columns'}. Set --{who}-key COLUMN."
        )
    best = max(pairs, key=lambda pair: pair[0][0] + pair[1][0])
    return {who: _key(candidate, events, tables[who]) for who, candidate in zip(("user", "item"), best, strict=True)}


def check_key_options(events: Source, tables: Mapping[str, Source | None], options: Mapping[str, str | None]) -> None:
    """Check that the named key columns exist, and that names of columns can give the other keys if there is no table.

    Raises:
        InputError: If a column does not exist, or the columns have no name of a user or an item.
    """
    for who, option in options.items():
        table = tables[who]
        known = {*events.table.column_names, *(table.table.column_names if table else ())}
        if option is not None and option not in known:
            raise unknown(f"column for --{who}-key", option, known)
        columns = [name for name in events.table.column_names if name not in events.left_out]
        if option is None and table is None and events.named and not any(_has_name_of(who, name) for name in columns):
            raise InputError(
                f"{events.name}: cannot infer the column of the {who} id from the names of {', '.join(columns)}. Set "
                f"--{who}-key COLUMN."
            )


_Candidate = tuple[float, str, str | None, str]  # score, column of the interactions, column of the table, reason


def _candidates(
    who: str, events: Source, table: Source | None, columns: list[str], option: str | None
) -> list[_Candidate]:
    event_columns = [option] if option is not None and option in events.table.column_names else columns
    if table is None:
        return [c for i, name in enumerate(event_columns) if (c := _by_name(who, events, name, i, option))]
    own = [c for c in table.table.column_names if table.kinds[c] in ("integer", "text")]
    if option is not None and option in table.table.column_names:
        own = [option]
    sets = {c: _texts(table, c) for c in own}
    matches = [c for name in event_columns for o in own if (c := _by_values(who, events, name, table, o, sets[o]))]
    if not matches:
        raise InputError(
            f"{table.name}: no column contains the {who} ids of {events.name} (columns of {events.name}: "
            f"{', '.join(event_columns)}; columns of {table.name}: {', '.join(own)}). Pass the right file, or set "
            f"--{who}-key COLUMN."
        )
    return matches


def is_key_name(name: str) -> bool:
    """Return whether a name has the form of a key, such as user_id."""
    return bool(_IS_KEY.search(name))


def _has_name_of(who: str, name: str) -> bool:
    return bool((_USER if who == "user" else _ITEM).search(name))


def _by_name(who: str, events: Source, name: str, position: int, option: str | None) -> _Candidate | None:
    if name == option:
        return 9.0, name, None, f"set by --{who}-key"
    if not events.named:  # the usual order of such files: user, item, other columns
        return (1.0, name, None, "inferred from its position") if position == (who == "item") else None
    if not _has_name_of(who, name):
        return None
    return 1 + 0.5 * is_key_name(name), name, None, "inferred from its name"


def _by_values(who: str, events: Source, name: str, table: Source, own: str, own_keys: pa.Array) -> _Candidate | None:
    keys = _texts(events, name)
    sample = keys.take(pa.array(np.linspace(0, len(keys) - 1, min(_SAMPLE, len(keys))).astype(np.int64)))
    share = np.isin(np.asarray(sample, dtype=object).astype(str), np.asarray(own_keys, dtype=object).astype(str)).mean()
    if share < (_LEAST_MET if name != own else 1e-9):
        return None
    covered = min(1.0, share * len(keys) / len(own_keys))
    unique = len(own_keys) / table.table.num_rows
    by_name = (name == own) + 0.5 * _has_name_of(who, name) + 0.5 * is_key_name(own)
    return 2 * share + covered + unique + by_name, name, own, f"{share:.0%} of its values are in {table.name}.{own}"


def key_values(source: Source, name: str, key: Key) -> pa.Array:
    """Return the values of a key column, as integers or strings."""
    return values.read_as(source.table[name], name, "integer" if key.integer else "text").array


def _texts(source: Source, name: str) -> pa.Array:
    """Return the distinct values of a column as text, so that 7, "7" and 7.0 are equal."""
    kind = "integer" if source.kinds[name] == "integer" else "text"
    return values.read_as(source.table[name], name, kind).array.unique().drop_null().cast(pa.string())


def _key(candidate: _Candidate, events: Source, table: Source | None) -> Key:
    _, name, own, why = candidate
    columns = [(events, name)] + ([(table, own)] if table and own else [])
    integer = all(
        source.kinds[c] == "integer" and not values.read_as(source.table[c], c, "integer").lost for source, c in columns
    )
    return Key(events=name, own=own, integer=integer, why=why)
