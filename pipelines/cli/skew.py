"""`two-tower skew`: where training and a live service part."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.waiting import waiting


def compare(
    feature_repo: Path, releases: str, release: str, address: str, users: int, out: Console, err: Console
) -> int:
    """Print a row a layer and a sentence a difference; returns the exit status."""
    with waiting(err, f"asking the stores and the service for {users:,} users"):
        from two_tower.checks.skew import check_release

        verdict = check_release(feature_repo, releases, release, address.rstrip("/"), users)
    details = verdict.details
    grid = Table("layer", "compared", "differ", title=f"release {details['release']}, served {details['served']}")
    for layer, told in details["layers"].items():
        grid.add_row(layer, f"{told['compared']:,}", f"{told['differ']:,}", style="red" if told["differ"] else None)
    out.print(grid)
    for reason in verdict.reasons:
        err.print(f"[bold red]skew:[/] {escape(reason)}", soft_wrap=True)
    if verdict.passed:
        out.print(f"training and serving agree for {details['users']} users")
    return 0 if verdict.passed else 3
