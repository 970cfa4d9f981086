"""Statistics of the training data that a release stores. The data gate compares the next pull with them.

A description is a dict of JSON values. It contains shares and quantiles of features. Of single users and items it
contains only hashes, and the quantile bins of numbers, with which the gate detects values that moved to other keys.
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
from two_tower.schema import Dtype, Encoding, TowerName
from two_tower.statistics.distribution import BINS, describe_numbers, feature, psi

SAMPLED_KEYS = 1000
_SAMPLED_ROWS = 20_000
_NUMBERS = (Dtype.INT64, Dtype.FLOAT32, Dtype.FLOAT64)
_MICROS_A_DAY = 86_400_000_000


def describe(pulled: Pulled, before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Describe pulled data.

    Args:
        pulled: The pulled tables.
        before: An earlier description. The new description then also contains the differences (see `feature`).

    Returns:
        JSON values: `as_of`, `split`, `interactions`, the features of `user`, `item` and `catalogue` (at the newest
        snapshot) by name, hashed samples of `keys`, and the statistics of the sources (`views`).
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
        "split": pulled.bounds.split,
        "interactions": _interactions(pulled, (before or {}).get("interactions")),
        **described,
        "keys": {"user": _user_keys(pulled), "item": _item_keys(pulled)},
        "views": pulled.views,
    }


def _interactions(pulled: Pulled, before: Mapping[str, Any] | None) -> dict[str, Any]:
    schema, rows = pulled.contract, pulled.interactions
    micros = rows[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    users, items = (
        rows[key].combine_chunks().dictionary_encode().indices.to_numpy() for key in (schema.user_key, schema.item_key)
    )
    days = max(1.0, (micros[-1] - micros[0]) / _MICROS_A_DAY)
    triples = np.lexsort((items, users, micros))
    duplicate = np.ones(len(micros) - 1, dtype=bool)
    for column in (items, users, micros):
        duplicate &= np.diff(column[triples]) == 0
    as_of = int(pulled.bounds.as_of.timestamp() * 1e6)
    user_counts, item_counts = np.bincount(users), np.bincount(items)
    return {
        "rows": len(micros),
        "days": days,
        "rows_a_day": len(micros) / days,
        "users": len(user_counts),
        "items": len(item_counts),
        "rows_a_user": len(micros) / len(user_counts),
        "rows_an_item": len(micros) / len(item_counts),
        "busiest_user": float(user_counts.max() / len(micros)),
        "busiest_item": float(item_counts.max() / len(micros)),
        "repeated": float(duplicate.mean()),
        "oldest": int(micros[0]),
        "longest_gap": float(np.diff(micros).max() / _MICROS_A_DAY),
        "lag": float((as_of - micros[-1]) / _MICROS_A_DAY),
        "days_rows": _days(micros),
        "sample": _sampled_rows(pulled, micros),
        "hours": _hours(micros, before),
        "weight": describe_numbers(rows["weight"].to_numpy().astype(np.float64), (before or {}).get("weight")),
        "histories": {f.name: histories(pulled, f.name, users) for f in schema.user if f.encoding == Encoding.HISTORY},
    }


def _days(micros: Array) -> dict[str, int]:
    """Count rows by day (days since 1970), without the first and the last day, which may be incomplete."""
    days, counts = np.unique(micros // _MICROS_A_DAY, return_counts=True)
    return {str(day): int(n) for day, n in zip(days[1:-1], counts[1:-1], strict=True)}


def _sampled_rows(pulled: Pulled, micros: Array) -> list[list[int]]:
    """Return [hash, time] of the interactions with the smallest hashes, ascending: the same rows in every release."""
    mixed = micros.astype(np.uint64)
    for key in (pulled.contract.user_key, pulled.contract.item_key):
        coded = pulled.interactions[key].combine_chunks().dictionary_encode()
        sums = np.array([zlib.crc32(str(v).encode()) for v in coded.dictionary.to_pylist()], dtype=np.uint64)
        mixed = mix(mixed ^ sums[coded.indices.to_numpy()])
    least = np.argsort(mixed, kind="stable")[:SAMPLED_KEYS]
    return [[int(h), int(t)] for h, t in zip(mixed[least], micros[least], strict=True)]


def _hours(micros: Array, before: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the share of interactions in each hour of the day in UTC."""
    hours = (np.bincount(micros // 3_600_000_000 % 24, minlength=24) / len(micros)).tolist()
    return {"shares": hours} | ({"psi": psi(before["hours"]["shares"], hours)} if before else {})


def histories(pulled: Pulled, name: str, users: Array) -> dict[str, float]:
    """Measure how well a history feature agrees with a sample of the interactions.

    Args:
        pulled: The pulled tables.
        name: The name of the history feature.
        users: (interactions,) int64 codes of the users.

    Returns:
        `follows` is the share of interactions with a history that contains the user's previous item. `knows` is the
        share of interactions with a history that contains the item of the interaction itself. Empty if no user has two
        interactions.
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
        "follows": float(_contains(lists, items.take(pa.array(order[earlier - 1]))).mean()),
        "knows": float(_contains(lists, items.take(pa.array(rows))).mean()),
    }


def _contains(lists: pa.ListArray, values: pa.Array) -> Array:
    """Return whether each list contains the value of its row; (rows,) bool."""
    parents = pc.list_parent_indices(lists)
    equal = pc.equal(pc.list_flatten(lists), values.take(parents)).fill_null(fill_value=False)
    contains = np.zeros(len(lists), dtype=bool)
    contains[parents.filter(equal).to_numpy()] = True
    return contains


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
    """Describe a sample of keys: the hashes of the newest values (`newest`) and how constant they are (`steady`).

    `steady` is the share of keys with the same value at the first and at the last time; only keys that occur `again`
    count. `bins` are the quantile bins of the newest values of numbers, -1 for a missing value.
    """
    names = [hashed(str(key)) for key in keys.to_pylist()]
    newest, steady, bins = {}, {}, {}
    for f in pulled.contract.tower(tower):
        before, now = ([hashed(v) for v in table[f.name].to_pylist()] for table in (first, last))
        same = np.array([a == b for a, b in zip(before, now, strict=True)], dtype=bool)
        newest[f.name] = now
        if again.sum() >= 20:
            steady[f.name] = float(same[again].mean())
        if not f.is_discrete and f.dtype in _NUMBERS:
            bins[f.name] = _bins(last[f.name].to_numpy().astype(np.float64))
    return {"keys": names, "newest": newest, "steady": steady, "bins": bins}


def _bins(values: Array) -> list[int]:
    """Return the quantile bin of each number, from 0; -1 for NaN."""
    known = np.sort(values[~np.isnan(values)])
    edges = np.unique(known[(np.arange(1, BINS) * len(known)) // BINS]) if len(known) else known
    places: list[int] = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right")).tolist()
    return places


def _sample(keys: pa.Array) -> Array:
    """Return the positions of the sampled keys: the same keys in every release, independent of new and removed keys."""
    sums = np.array([zlib.crc32(str(key).encode()) for key in keys.to_pylist()])
    return np.sort(np.argsort(sums, kind="stable")[:SAMPLED_KEYS])


def hashed(value: Any) -> str:
    """Return the hash of a value's text, as 12 hexadecimal digits."""
    return hashlib.blake2b(str(value).encode(), digest_size=6).hexdigest()
