"""`two-tower drift`: the features of served requests beside those that the release was trained on."""

import json
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.waiting import waiting
from two_tower.checks.drift import LEAST_ROWS, Drift, compare, read_log
from two_tower.errors import InputError
from two_tower.releases.manifest import File
from two_tower.releases.release import open_release, resolve

_STYLES = {"much": "red", "some": "yellow", "unknown": "dim", "none": None}


def look(
    releases: str, release: str, feature_log: Path, since: str, json_file: Path | None, out: Console, err: Console
) -> int:
    """Print a row a feature; returns 3 where one has moved much."""
    with waiting(err, "reading the log and the release"):
        wanted, rows, found = _compared(releases, release, feature_log, since)
    grid = Table("feature", "psi", "moved", "missing", "missing in training", title=f"{rows:,} requests")
    for one in found:
        told = "–" if one.psi is None else f"{one.psi:.3f}"
        shares = (f"{one.missing:.1%}", f"{one.missing_before:.1%}")
        grid.add_row(escape(one.feature), told, one.word, *shares, style=_STYLES[one.word])
    out.print(grid)
    if rows < LEAST_ROWS:
        out.print(f"too few requests to judge: {rows} of at least {LEAST_ROWS}")
    if json_file:
        said = {"release": wanted, "requests": rows, "features": [asdict(one) for one in found]}
        json_file.write_text(json.dumps(said, indent=2) + "\n")
    return 3 if any(one.word == "much" for one in found) else 0


def _compared(releases: str, release: str, feature_log: Path, since: str) -> tuple[str, int, list[Drift]]:
    """The release, how many requests were logged for it, and how far each feature has moved."""
    from pipelines.local.run import check_instant

    if since:
        check_instant(since, "--since")
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        opened = open_release(releases, resolve(releases, release), Path(cache))
        profile = opened.profile("user")
    if profile is None:
        raise InputError(
            f"release {opened.id} has no {File.PROFILE}, so there is nothing to compare requests with. Publish a "
            "release with the training pipeline."
        )
    rows = read_log(feature_log, opened.id, int(datetime.fromisoformat(since).timestamp()) if since else 0)
    return opened.id, rows.num_rows, compare(profile, rows, opened.contract.user)
