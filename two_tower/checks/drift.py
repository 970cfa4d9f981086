"""Drift between the features of served requests and the training data of a release.

A feature log is a folder of parquet files, `<release>/<time>-<process>-<number>.parquet`, with one column per user
feature (the raw input of the tower) and `request_time` (int64 seconds since 1970). Each feature is compared with the
reference profile of the release: the population stability index over the bins of the profile, where missing values are
one more bin.
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
from two_tower.statistics.distribution import psi
from two_tower.statistics.profile import numbers

REQUEST_TIME = "request_time"
LEAST_ROWS = 200  # with fewer rows, random variation would look like drift
SOME, MUCH = 0.1, 0.25  # limits of the population stability index


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The drift of one feature.

    Attributes:
        feature: The name of the feature.
        psi: The population stability index. None if there are fewer than LEAST_ROWS rows, or the profile does not have
            the feature.
        missing: The share of missing values in the log.
        missing_before: The share of missing values in the training data.
    """

    feature: str
    psi: float | None
    missing: float
    missing_before: float

    @property
    def level(self) -> str:
        """`none`, `some` (psi of at least 0.1), `much` (psi of at least 0.25), or `unknown`."""
        if self.psi is None:
            return "unknown"
        return "much" if self.psi >= MUCH else "some" if self.psi >= SOME else "none"


def log_schema(features: tuple[Feature, ...]) -> pa.Schema:
    """Return the Arrow schema of a feature log: one column per feature, and the time of the request."""
    return arrow_schema(features).append(pa.field(REQUEST_TIME, pa.int64()))


def compare(profile: Mapping[str, Any], rows: pa.Table, features: tuple[Feature, ...]) -> list[Drift]:
    """Compare a feature log with the reference profile of a release.

    Args:
        profile: The reference profile of the user features (`profile.profile`).
        rows: Rows of the feature log. With fewer than LEAST_ROWS rows the drift is unknown.
        features: The user features.

    Returns:
        The drift of each feature, sorted by descending psi.
    """
    seconds = rows[REQUEST_TIME].to_numpy()
    drifts = [_feature(profile["features"].get(f.name), rows[f.name], f, seconds) for f in features]
    return sorted(drifts, key=lambda drift: -1.0 if drift.psi is None else drift.psi, reverse=True)


def _feature(before: Mapping[str, Any] | None, column: pa.ChunkedArray, f: Feature, seconds: Array) -> Drift:
    missing = column.null_count / max(1, len(column))
    missing_before = before["null_share"] if before else 0.0
    index = None
    if before is not None and len(column) >= LEAST_ROWS:
        then, now = _top_shares(before, column, f) if "top" in before else _bin_shares(before, column, f, seconds)
        present = ((t * (1 - missing_before), n * (1 - missing)) for t, n in zip(then, now, strict=True))
        bins = [(missing_before, missing), *present]
        index = psi([t for t, _ in bins], [n for _, n in bins])
    return Drift(feature=f.name, psi=index, missing=missing, missing_before=missing_before)


def _top_shares(before: Mapping[str, Any], column: pa.ChunkedArray, f: Feature) -> tuple[list[float], list[float]]:
    """Return the shares of the most frequent training values, and of all others, in training and in the log."""
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
    """Return the shares between the training quantiles. Equal quantiles are one edge that holds the shares between."""
    values = numbers(column, f, seconds)
    if "quantiles" not in before:  # all training values were missing
        return [0.0], [1.0 if len(values) else 0.0]
    edges, counts = np.unique(before["quantiles"], return_counts=True)
    total = max(1, len(values))
    if len(edges) == 1:
        equal = float((values == edges[0]).sum() / total)
        return [1.0, 0.0], [equal, 1 - equal]
    step = 1 / (len(before["quantiles"]) - 1)
    then = np.append((counts[0] - 1) * step, counts[1:] * step)  # the minimum, then the bins (edge, next edge]
    position = np.minimum(np.searchsorted(edges, values, side="left"), len(edges) - 1)
    now = np.bincount(position, minlength=len(edges)) / total
    if counts[0] == 1:  # the minimum occurs once and belongs to the first bin
        then, now = then[1:], np.append(now[0] + now[1], now[2:])
    return list(then), list(now)


def read_log(folder: Path, release: str, since: int = 0) -> pa.Table:
    """Read the feature log of a release.

    Args:
        folder: The folder that the service writes with `--feature-log`.
        release: The id of the release.
        since: Earlier requests are left out; seconds since 1970.

    Returns:
        One row per request, with the columns of `log_schema`.

    Raises:
        InputError: If the folder does not exist, or it has no rows of the release.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist. Pass the folder that `two-tower serve --feature-log` writes.")
    releases = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if release not in releases:
        raise unknown("release in the feature log", release, releases)
    tables = [pq.read_table(path) for path in sorted((folder / release).glob("*.parquet"))]
    if not tables:
        raise InputError(f"{folder / release} has no rows yet. The service writes rows every few seconds; try again.")
    rows = pa.concat_tables(tables)
    return rows.filter(pc.greater_equal(rows[REQUEST_TIME], since))
