"""What a release remembers of the data it was trained on, for the data gate to hold the next pull against.

A description is plain JSON. Of a feature it holds shares and quantiles; of single users and items only hashes, by which
the gate sees that a value has moved to another key.
"""

import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.hashing import mix
from two_tower.data.pulled import EVENT_TIMESTAMP, Pulled
from two_tower.inputs import Array
from two_tower.schema import Dtype, Encoding, Feature, TowerName
from two_tower.statistics.profile import numbers

VALUES = 500  # a feature with no more values is a domain, and is remembered in full
BINS = 10
LOST = 0.01  # share from which on a value that is gone is missed
BEYOND = 0.25  # of the width of the old range, on either side: counts grow, prices rise
SAMPLED_KEYS = 1000
# UTF-8 that was read as Latin-1 or cp1252, or that could not be read
GARBLED = "[ÂÃ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€|\ufffd"
NO_VALUE = r"(?i)^\s*(nan|none|null|n/a|undefined|<na>|\\n)?\s*$"  # what a missing value becomes as a text
_SAMPLED_ROWS = 20_000
_LISTS = (Dtype.STRINGS, Dtype.INTS)
_BY_VALUE = (Encoding.CATEGORICAL, Encoding.HASHED, Encoding.BAG, Encoding.HISTORY)
_MICROS_A_DAY = 86_400_000_000


def describe(pulled: Pulled, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The description of what was pulled: `interactions`, the features of `user`, `item` and `catalogue` (as of the
    newest snapshot) by name, hashed samples of `keys`, and the `views` behind them.

    before: an earlier description; each feature then also says how it differs from what it was (see `feature`).
    """
    schema, as_of = pulled.contract, pulled.bounds.as_of
    newest = pulled.catalogue_at(as_of)
    at_as_of = np.full(newest.num_rows, int(as_of.timestamp()))
    keys = {f.name for f in schema.item if newest[f.name].equals(newest[schema.item_key])}
    tables = {
        "user": (pulled.user, schema.user, pulled.seconds),
        "item": (pulled.item, schema.item, pulled.seconds),
        "catalogue": (newest, schema.item, at_as_of),
    }
    described: dict[str, Any] = {}
    for name, (table, features, seconds) in tables.items():
        earlier = (before or {}).get(name, {})
        described[name] = {
            f.name: feature(table[f.name], f, seconds, earlier.get(f.name))
            | {"names_items": f.encoding == Encoding.HISTORY or f.name in keys}
            for f in features
        }
    return {
        "as_of": as_of.isoformat(),
        "interactions": _interactions(pulled, (before or {}).get("interactions")),
        **described,
        "keys": {"user": _user_keys(pulled), "item": _item_keys(pulled)},
        "views": pulled.views,
    }


def feature(
    column: pa.ChunkedArray, f: Feature, seconds: Array, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Of one feature: rows, null_share, and one of these two.

    by value: `values`, the most frequent ones with their shares, as text, and `whole`, whether these are all. Of lists
    these are of the elements, and `lengths` are numbers.
    of numbers: edges and shares of at most 10 quantile bins, least, greatest, and the share of the most frequent value.

    With `before`: psi; of values the shares of `new` and of `lost` ones; of numbers the share `outside` the old range.
    """
    found: dict[str, Any] = {"rows": len(column), "null_share": column.null_count / max(1, len(column))}
    if f.encoding in _BY_VALUE:
        is_list = f.dtype in _LISTS
        found |= _values((pc.list_flatten(column) if is_list else column).drop_null(), before)
        if is_list:
            lengths = pc.list_value_length(column).drop_null().to_numpy().astype(np.float64)
            found["lengths"] = _numbers(lengths, (before or {}).get("lengths"))
        return found
    return found | _numbers(numbers(column, f, seconds), before)


def _values(known: pa.ChunkedArray, before: Mapping[str, Any] | None) -> dict[str, Any]:
    counted = known.value_counts()
    counts = counted.field("counts")
    most = pc.select_k_unstable(counts, k=min(VALUES, len(counts)), sort_keys=[("counts", "descending")])
    weights = (counts.take(most).to_numpy() / max(1, len(known))).tolist()
    names = [str(v) for v in counted.field("values").take(most).to_pylist()]
    values = dict(zip(names, weights, strict=True))
    found: dict[str, Any] = {"distinct": len(counts), "whole": len(counts) <= VALUES, "values": values}
    if pa.types.is_string(known.type):
        for name, pattern in (("garbled", GARBLED), ("no_value", NO_VALUE)):
            matched = pc.match_substring_regex(counted.field("values"), pattern)
            found[name] = (pc.sum(counts.filter(matched)).as_py() or 0) / max(1, len(known))
    if before and before.get("values") and values:
        was = before["values"]
        found["new"] = 1 - sum(share for value, share in values.items() if value in was)
        found["lost"] = sum(s for value, s in was.items() if s >= LOST and value not in values)
        rest = [1 - sum(was.values()), 1 - sum(values.get(v, 0) for v in was)]
        found["psi"] = psi([*was.values(), rest[0]], [*(values.get(v, 0) for v in was), rest[1]])
    return found


def _numbers(known: Array, before: Mapping[str, Any] | None) -> dict[str, Any]:
    if not len(known):
        return {}
    ordered = np.sort(known)
    edges = np.unique(ordered[(np.arange(1, BINS) * len(ordered)) // BINS])
    runs = np.diff(np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])))
    found = {
        "edges": edges.tolist(),
        "shares": shares(ordered, edges).tolist(),
        "least": float(ordered[0]),
        "greatest": float(ordered[-1]),
        "distinct": len(runs),
        "most_frequent": float(runs.max() / len(ordered)),
    }
    if before and "edges" in before:
        found["psi"] = psi(before["shares"], shares(ordered, before["edges"]))
        margin = BEYOND * (before["greatest"] - before["least"])
        lowest = before["least"] - margin
        if before["least"] >= 0:  # prices, counts and ages have no sign
            lowest = max(0.0, lowest)
        ends = np.searchsorted(ordered, [lowest, before["greatest"] + margin], side="left")
        found["outside"] = float((len(ordered) - (ends[1] - ends[0])) / len(ordered))
        if before["greatest"] == before["least"]:
            found["outside"] = float((ordered != before["least"]).mean())
    return found


def shares(values: Array, edges: Any) -> Array:
    """The shares of values in the bins that inner edges make, [edge 0, edge 1) and so on, float64 [edges + 1]."""
    places = np.searchsorted(np.asarray(edges, dtype=np.float64), values, side="right")
    return np.bincount(places, minlength=len(edges) + 1) / max(1, len(values))


def _interactions(pulled: Pulled, before: Mapping[str, Any] | None) -> dict[str, Any]:
    schema, rows = pulled.contract, pulled.interactions
    micros = rows[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    users, items = (
        rows[key].combine_chunks().dictionary_encode().indices.to_numpy() for key in (schema.user_key, schema.item_key)
    )
    days = max(1.0, (micros[-1] - micros[0]) / _MICROS_A_DAY)
    triples = np.lexsort((items, users, micros))
    same = np.ones(len(micros) - 1, dtype=bool)
    for column in (items, users, micros):
        same &= np.diff(column[triples]) == 0
    as_of = int(pulled.bounds.as_of.timestamp() * 1e6)
    of_users, of_items = np.bincount(users), np.bincount(items)
    return {
        "rows": len(micros),
        "days": days,
        "rows_a_day": len(micros) / days,
        "users": len(of_users),
        "items": len(of_items),
        "rows_a_user": len(micros) / len(of_users),
        "rows_an_item": len(micros) / len(of_items),
        "busiest_user": float(of_users.max() / len(micros)),
        "busiest_item": float(of_items.max() / len(micros)),
        "repeated": float(same.mean()),
        "oldest": int(micros[0]),
        "longest_gap": float(np.diff(micros).max() / _MICROS_A_DAY),
        "lag": float((as_of - micros[-1]) / _MICROS_A_DAY),
        "days_rows": _days(micros),
        "sample": _sampled_rows(pulled, micros),
        "hours": _hours(micros, before),
        "weight": _numbers(rows["weight"].to_numpy().astype(np.float64), (before or {}).get("weight")),
        "histories": {f.name: histories(pulled, f.name, users) for f in schema.user if f.encoding == Encoding.HISTORY},
    }


def _days(micros: Array) -> dict[str, int]:
    """Rows by the day, its number since 1970, without the first and the last, which may be cut."""
    days, counts = np.unique(micros // _MICROS_A_DAY, return_counts=True)
    return {str(day): int(n) for day, n in zip(days[1:-1], counts[1:-1], strict=True)}


def _sampled_rows(pulled: Pulled, micros: Array) -> list[list[int]]:
    """[hash, instant] of the interactions with the least hashes, ascending: the same ones from release to release."""
    mixed = micros.astype(np.uint64)
    for key in (pulled.contract.user_key, pulled.contract.item_key):
        coded = pulled.interactions[key].combine_chunks().dictionary_encode()
        sums = np.array([zlib.crc32(str(v).encode()) for v in coded.dictionary.to_pylist()], dtype=np.uint64)
        mixed = mix(mixed ^ sums[coded.indices.to_numpy()])
    least = np.argsort(mixed, kind="stable")[:SAMPLED_KEYS]
    return [[int(h), int(t)] for h, t in zip(mixed[least], micros[least], strict=True)]


def _hours(micros: Array, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """The hours of the day, UTC, by their shares."""
    hours = (np.bincount(micros // 3_600_000_000 % 24, minlength=24) / len(micros)).tolist()
    return {"shares": hours} | ({"psi": psi(before["hours"]["shares"], hours)} if before else {})


def histories(pulled: Pulled, name: str, users: Array) -> dict[str, float]:
    """How a history feature agrees with the interactions, from a sample of them.

    follows: share of those whose history holds the item that the user took before. knows: share of the first ones of an
    item by a user whose history holds that very item.
    """
    micros = pulled.interactions[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    items = pulled.interactions[pulled.contract.item_key].combine_chunks()
    order = np.lexsort((micros, users))
    user, time = users[order], micros[order]
    earlier = np.flatnonzero((user[1:] == user[:-1]) & (time[1:] > time[:-1])) + 1
    if len(earlier) > _SAMPLED_ROWS:
        earlier = earlier[np.linspace(0, len(earlier) - 1, _SAMPLED_ROWS).astype(np.int64)]
    if not len(earlier):
        return {}
    rows = order[earlier]
    lists = pulled.user[name].take(pa.array(rows)).combine_chunks()
    return {
        "follows": float(_holds(lists, items.take(pa.array(order[earlier - 1]))).mean()),
        "knows": float(_holds(lists, items.take(pa.array(rows))).mean()),
    }


def _holds(lists: pa.ListArray, wanted: pa.Array) -> Array:
    """Whether each list holds the value of its row, bool [rows]."""
    parents = pc.list_parent_indices(lists)
    equal = pc.equal(pc.list_flatten(lists), wanted.take(parents)).fill_null(fill_value=False)
    held = np.zeros(len(lists), dtype=bool)
    held[parents.filter(equal).to_numpy()] = True
    return held


def _user_keys(pulled: Pulled) -> dict[str, Any]:
    keys = pulled.interactions[pulled.contract.user_key].combine_chunks().dictionary_encode()
    codes = keys.indices.to_numpy()
    n = len(keys.dictionary)
    first, last = np.full(n, len(codes)), np.zeros(n, dtype=np.int64)
    np.minimum.at(first, codes, np.arange(len(codes)))
    np.maximum.at(last, codes, np.arange(len(codes)))
    sample = _sample(keys.dictionary)
    tables = [pulled.user.take(pa.array(rows[sample])) for rows in (first, last)]
    again = first[sample] != last[sample]
    return _keys(pulled, "user", keys.dictionary.take(pa.array(sample)), tables[0], tables[1], again)


def _item_keys(pulled: Pulled) -> dict[str, Any]:
    key, snapshots = pulled.contract.item_key, pulled.bounds.snapshots
    last = pulled.catalogue_at(snapshots[-1])
    first = pulled.catalogue_at(snapshots[0])
    sample = _sample(last[key].combine_chunks())
    keys, last = last[key].take(pa.array(sample)).combine_chunks(), last.take(pa.array(sample))
    places = pc.index_in(keys, value_set=first[key].combine_chunks())
    return _keys(pulled, "item", keys, first.take(places), last, places.is_valid().to_numpy(zero_copy_only=False))


def _keys(
    pulled: Pulled, tower: TowerName, keys: pa.Array, first: pa.Table, last: pa.Table, again: Array
) -> dict[str, Any]:
    """Of a sample of keys, hashes of their newest values by feature (`newest`); and the share of the keys, among those
    that are there `again`, whose value stayed the same from the first time to the last (`steady`).
    """
    names = [hashed(str(key)) for key in keys.to_pylist()]
    newest, steady = {}, {}
    for f in pulled.contract.tower(tower):
        before, now = ([hashed(v) for v in table[f.name].to_pylist()] for table in (first, last))
        same = np.array([a == b for a, b in zip(before, now, strict=True)], dtype=bool)
        newest[f.name] = now
        if again.sum() >= 20:
            steady[f.name] = float(same[again].mean())
    return {"keys": names, "newest": newest, "steady": steady}


def _sample(keys: pa.Array) -> Array:
    """Places of the keys to remember: the same keys from one release to the next, whoever else comes or goes."""
    sums = np.array([zlib.crc32(str(key).encode()) for key in keys.to_pylist()])
    return np.sort(np.argsort(sums, kind="stable")[:SAMPLED_KEYS])


def hashed(value: Any) -> str:
    return hashlib.blake2b(str(value).encode(), digest_size=6).hexdigest()


def psi(before: Any, now: Any) -> float:
    """Population stability index of shares over the same bins (Siddiqi, Credit Risk Scorecards, 2006, ch. 7).

    Below 0.1 nothing has moved, above 0.25 much has. A bin that was or is empty counts as one in ten thousand.
    """
    p, q = (np.maximum(np.asarray(x, dtype=np.float64), 1e-4) for x in (before, now))
    return float(((q - p) * np.log(q / p)).sum())
