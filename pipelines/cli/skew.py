"""`two-tower skew`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli.command import command
from pipelines.cli.options import Releases
from pipelines.cli.output import Output
from pipelines.exit_status import ExitStatus

if TYPE_CHECKING:
    from two_tower.gates import Verdict


@command(
    "two-tower skew --releases runs/my_repo/releases --feature-repo my_repo --url http://localhost:8080", extras="data"
)
def skew(
    output: Output,
    releases: Releases,
    feature_repo: Annotated[Path, typer.Option(help="Feature repository that the release was trained on.")],
    url: Annotated[str, typer.Option(help="URL of the service.")] = "http://localhost:8080",
    release: Annotated[str, typer.Option(help="Release that the service should serve. Default: the current one.")] = "",
    users: Annotated[int, typer.Option(min=1, max=5000, help="Number of the newest users to compare.")] = 100,
) -> int:
    """Compare training with a live service, layer by layer. Exit status 3: they differ."""
    with output.progress(f"querying the stores and the service for {users:,} users"):
        from two_tower.checks.skew import check_release

        verdict = check_release(feature_repo, releases, release, url.rstrip("/"), users)
    _print(output, verdict)
    output.json({"passed": verdict.passed, "reasons": verdict.reasons, **verdict.details})
    return ExitStatus.DONE if verdict.passed else ExitStatus.HELD


def _print(output: Output, verdict: "Verdict") -> None:
    from rich.table import Table

    from pipelines.cli.console import labelled

    details = verdict.details
    grid = Table("layer", "compared", "differ", title=f"release {details['release']}, served {details['served']}")
    for layer, counts in details["layers"].items():
        style = "red" if counts["differ"] else None
        grid.add_row(layer, f"{counts['compared']:,}", f"{counts['differ']:,}", style=style)
    output.text.print(grid)
    if verdict.passed:
        output.text.print(f"training and serving agree for {details['users']} users")
    for reason in verdict.reasons:
        output.err.print(labelled("skew:", "bold red", f" {reason}"), soft_wrap=True)
