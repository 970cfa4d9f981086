"""Drift between the features of served requests and the training data of a release.

A feature log is a folder of parquet files, `<release>/<time>-<process>-<number>.parquet`, with one column per user
feature (the raw input of the tower) and `request_time` (int64 seconds since 1970). Each feature is compared with the
reference profile of the release: the population stability index over the bins of the profile, where missing values are
one more bin. The index of two random samples of the same data is not 0 but grows with the number of bins and falls with
the number of rows, so the part that random variation explains is subtracted.
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
from two_tower.schema import Encoding, Feature
from two_tower.statistics.distribution import psi
from two_tower.statistics.profile import bin_shares, mean_day, missing_share

REQUEST_TIME = "request_time"
LEAST_ROWS = 200  # with fewer rows, random variation hides most drift
SOME, STRONG = 0.1, 0.25  # limits of the population stability index
RARE = 1e-3  # bins with a smaller share in both samples add nothing to the index
_QUANTILE = 3.1  # of the standard normal distribution: random variation exceeds it in 1 of 1,000 samples


@dataclass(frozen=True, kw_only=True)
class Drift:
    """The drift of one feature.

    Attributes:
        feature: The name of the feature.
        psi: The population stability index above that of random variation, at least 0. None if there are fewer than
            LEAST_ROWS rows, or the profile does not have the feature.
        missing: The share of missing values and empty lists in the log.
        missing_before: The share of missing values and empty lists in the training data.
    """

    feature: str
    psi: float | None
    missing: float
    missing_before: float

    @property
    def level(self) -> str:
        """`none`, `some` (psi of at least 0.1), `strong` (psi of at least 0.25), or `unknown`."""
        if self.psi is None:
            return "unknown"
        return "strong" if self.psi >= STRONG else "some" if self.psi >= SOME else "none"


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
    drifts = [_feature(profile, rows[f.name], f, seconds) for f in features]
    return sorted(drifts, key=lambda drift: -1.0 if drift.psi is None else drift.psi, reverse=True)


def random_psi(bins: int, *rows: int) -> float:
    """Return the population stability index that samples of one distribution exceed in 1 of 1,000 cases.

    Args:
        bins: The number of bins.
        rows: The sizes of the two samples.

    Returns:
        The quantile. The index follows a chi-squared distribution with `bins` - 1 degrees of freedom, times the sum of
        the inverse sizes.

    Source:
        Yurdakul, "Statistical properties of the population stability index", 2018; Wilson and Hilferty, "The
        distribution of chi-square", PNAS 1931.
    """
    freedom = max(1, bins - 1)
    spread = 2 / (9 * freedom)
    return float(freedom * (1 - spread + _QUANTILE * spread**0.5) ** 3 * sum(1 / max(1, n) for n in rows))


def _feature(profile: Mapping[str, Any], column: pa.ChunkedArray, f: Feature, seconds: Array) -> Drift:
    before, bins = profile["features"].get(f.name), profile.get("bins", {}).get(f.name)
    index = None
    if before is not None and bins is not None and len(column) >= LEAST_ROWS:
        # An age grows with the clock, and the age of the last event does not: the smaller difference counts.
        shifts = (0.0, mean_day(seconds) - profile["day"]) if f.encoding == Encoding.AGE else (0.0,)
        shares = [bin_shares(bins, column, f, seconds, days) for days in shifts]
        used = max(np.count_nonzero(np.maximum(bins["shares"], now) > RARE) for now in shares)
        index = min(psi(bins["shares"], now) for now in shares)
        index = max(0.0, index - random_psi(int(used), len(column), profile["rows"]))
    missing_before = before["null_share"] if before else 0.0
    return Drift(feature=f.name, psi=index, missing=missing_share(column), missing_before=missing_before)


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
