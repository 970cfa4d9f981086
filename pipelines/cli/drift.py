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
from two_tower.releases.release import current, local_copy, verify
from two_tower.schema import Contract

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

    wanted = release or current(releases)
    if not wanted:
        raise InputError(f"no release of {releases} is active. Name one of `two-tower releases list`.")
    contract = Contract.from_dict(verify(releases, wanted)["contract"])
    if since:
        check_instant(since, "--since")
    rows = read_log(feature_log, wanted, int(datetime.fromisoformat(since).timestamp()) if since else 0)
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        profile = json.loads((local_copy(releases, wanted, Path(cache)) / "profile.json").read_text())["user"]
    return wanted, rows.num_rows, compare(profile, rows, contract.user)
