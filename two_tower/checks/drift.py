"""How far the features of served requests have moved from those that a release was trained on.

A feature log is a folder of parquet files, `<release>/<time>-<process>-<number>.parquet`: one column a user feature,
raw as the tower took it, and `request_time` (int64 seconds). It is compared by the release's reference profile, feature
by feature, with the population stability index over the profile's own bins; a missing value is a bin of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.errors import InputError, unknown
from two_tower.inputs import Array, arrow_schema
from two_tower.schema import Dtype, Feature
from two_tower.statistics.profile import numbers
from two_tower.statistics.reference import psi

REQUEST_TIME = "request_time"
LEAST_ROWS = 200  # of fewer, chance alone would look like drift
MOVED, MUCH = 0.1, 0.25  # of the index


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One feature. psi: None where too little is known of it. missing: share now, and when it was trained."""

    feature: str
    psi: float | None
    missing: float
    missing_before: float

    @property
    def word(self) -> str:
        if self.psi is None:
            return "unknown"
        return "much" if self.psi >= MUCH else "some" if self.psi >= MOVED else "none"


def log_schema(features: tuple[Feature, ...]) -> pa.Schema:
    return arrow_schema(features).append(pa.field(REQUEST_TIME, pa.int64()))


def compare(profile: Mapping[str, Any], rows: pa.Table, features: tuple[Feature, ...]) -> list[Drift]:
    """The drift of each feature, the greatest first.

    profile: of the same features (`profile.profile`). rows: a feature log's, of any number; below LEAST_ROWS nothing is
    judged.
    """
    seconds = rows[REQUEST_TIME].to_numpy()
    found = [_feature(profile["features"].get(f.name), rows[f.name], f, seconds) for f in features]
    return sorted(found, key=lambda one: -1.0 if one.psi is None else one.psi, reverse=True)


def _feature(before: Mapping[str, Any] | None, column: pa.ChunkedArray, f: Feature, seconds: Array) -> Drift:
    missing = column.null_count / max(1, len(column))
    was = before["null_share"] if before else 0.0
    index = None
    if before is not None and len(column) >= LEAST_ROWS:
        then, now = _top_shares(before, column, f) if "top" in before else _bin_shares(before, column, f, seconds)
        there = [(was, missing), *((t * (1 - was), n * (1 - missing)) for t, n in zip(then, now, strict=True))]
        index = psi([t for t, _ in there], [n for _, n in there])
    return Drift(feature=f.name, psi=index, missing=missing, missing_before=was)


def _top_shares(before: Mapping[str, Any], column: pa.ChunkedArray, f: Feature) -> tuple[list[float], list[float]]:
    """Shares of the values that were the most frequent, and of all others, then and now."""
    flat = pc.list_flatten(column) if f.dtype in (Dtype.STRINGS, Dtype.INTS) else column
    counted = flat.drop_null().value_counts()
    counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    total = sum(counts.values()) or 1
    then = [share for _, share in before["top"]]
    now = [counts.get(value, 0) / total for value, _ in before["top"]]
    return [*then, max(0.0, 1 - sum(then))], [*now, max(0.0, 1 - sum(now))]


def _bin_shares(
    before: Mapping[str, Any], column: pa.ChunkedArray, f: Feature, seconds: Array
) -> tuple[list[float], list[float]]:
    """Shares between the quantiles of then. Equal quantiles are one edge, with the shares that lie between them."""
    values = numbers(column, f, seconds)
    if "quantiles" not in before:  # nothing was there
        return [0.0], [1.0 if len(values) else 0.0]
    edges, counts = np.unique(before["quantiles"], return_counts=True)
    total = max(1, len(values))
    if len(edges) == 1:
        equal = float((values == edges[0]).sum() / total)
        return [1.0, 0.0], [equal, 1 - equal]
    step = 1 / (len(before["quantiles"]) - 1)
    then = np.append((counts[0] - 1) * step, counts[1:] * step)  # at the least value, and in (edge, edge] after it
    place = np.minimum(np.searchsorted(edges, values, side="left"), len(edges) - 1)
    now = np.bincount(place, minlength=len(edges)) / total
    if counts[0] == 1:  # the least value is a single one, and belongs to the first bin
        then, now = then[1:], np.append(now[0] + now[1], now[2:])
    return list(then), list(now)


def read_log(folder: Path, release: str, since: int = 0) -> pa.Table:
    """The rows that were logged for a release at or after `since` (seconds). InputError where there is no log of it."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the one that `two-tower serve --feature-log` writes to.")
    logged = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if release not in logged:
        raise unknown("release in the feature log", release, logged)
    parts = [pq.read_table(path) for path in sorted((folder / release).glob("*.parquet"))]
    if not parts:
        raise InputError(f"{folder / release} holds no rows yet. They are written every few seconds.")
    rows = pa.concat_tables(parts)
    return rows.filter(pc.greater_equal(rows[REQUEST_TIME], since))
