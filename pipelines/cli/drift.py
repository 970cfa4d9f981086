"""`two-tower drift`."""

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from pipelines.cli.command import command
from pipelines.cli.options import Releases, check_instant, check_output_file
from pipelines.cli.output import Output
from pipelines.exit_status import ExitStatus
from two_tower.errors import InputError

if TYPE_CHECKING:
    from two_tower.checks.drift import Drift

_STYLES = {"strong": "red", "some": "yellow", "unknown": "dim", "none": None}


class DriftCommand(TyperCommand):
    """Accepts `--json FILE`, the old name of `--out FILE`, for one release."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        for number, word in enumerate(args):
            following = [arg for arg in args[number + 1 : number + 2] if not arg.startswith("-")]
            file = word.removeprefix("--json=") if word.startswith("--json=") else "".join(following)
            if word.startswith("--json") and file:
                Output().warn(f"--json {file} is now --out {file}. The next release will not accept the old form.")
                args = [*args[:number], "--out", file, *args[number + 1 + len(following) :]]
        return super().parse_args(ctx, args)


@command("two-tower drift --releases runs/sample/releases --feature-log /var/log/features --json", cls=DriftCommand)
def drift(
    output: Output,
    releases: Releases,
    feature_log: Annotated[Path, typer.Option(help="Folder that `serve --feature-log` wrote.")],
    release: Annotated[str, typer.Option(help="Use the requests of this release. Default: the current one.")] = "",
    since: Annotated[str, typer.Option(help="Use requests from this time on (ISO 8601). Default: all.")] = "",
    out_file: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the result as JSON to this file.")
    ] = None,
) -> int:
    """Compare served features with those of training. Exit status 3: at least one drifted strongly."""
    if out_file:
        check_output_file("--out", out_file)
    with output.progress("reading the log and the release"):
        name, requests, drifts = _compare(releases, release, feature_log, since)
    document = _document(name, requests, drifts)
    if out_file:
        out_file.write_text(json.dumps(document, indent=2) + "\n")
    _print(output, requests, drifts)
    output.json(document)
    return ExitStatus.HELD if any(one.level == "strong" for one in drifts) else ExitStatus.DONE


def _compare(releases: str, release: str, feature_log: Path, since: str) -> "tuple[str, int, list[Drift]]":
    """The release, the number of its logged requests, and the drift of each feature."""
    from two_tower.checks.drift import compare, read_log
    from two_tower.releases.manifest import File
    from two_tower.releases.release import open_release, resolve

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


def _document(release: str, requests: int, drifts: "list[Drift]") -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "release": release,
        "requests": requests,
        "features": [asdict(one) | {"drift": one.level} for one in drifts],
    }


def _print(output: Output, requests: int, drifts: "list[Drift]") -> None:
    from rich.table import Table

    from two_tower.checks.drift import LEAST_ROWS

    grid = Table("feature", "psi", "drift", "missing", "missing in training", title=f"{requests:,} requests")
    for one in drifts:
        psi = "–" if one.psi is None else f"{one.psi:.3f}"
        shares = (f"{one.missing:.1%}", f"{one.missing_before:.1%}")
        grid.add_row(one.feature, psi, one.level, *shares, style=_STYLES[one.level])
    output.text.print(grid)
    if requests < LEAST_ROWS:
        output.text.print(f"not enough requests to judge: {requests}, at least {LEAST_ROWS} are needed")
