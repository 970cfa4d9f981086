"""`two-tower leaks`: what was measured of each feature, and those that know the future."""

from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.waiting import waiting
from two_tower.gates import Verdict


def look(feature_repo: Path, as_of: str, out: Console, err: Console) -> int:
    """Print a row a feature and a sentence a leak; returns the exit status."""
    with waiting(err, "reading the features") as line:
        from pipelines.local.run import check_instant
        from two_tower.checks.leaks import check

        if as_of:
            check_instant(as_of)
        verdict = check(feature_repo, datetime.fromisoformat(as_of) if as_of else None, tell=line.part)
    out.print(_grid(verdict))
    if untold := verdict.details["untold"]:
        out.print(f"too few events to tell: {', '.join(untold)}")
    if verdict.passed:
        out.print("no feature knows the future, as far as these tests see")
        return 0
    for reason in verdict.reasons:
        err.print(f"[bold red]leak:[/] {escape(reason)}", soft_wrap=True)
    return 3


def _grid(verdict: Verdict) -> Table:
    grid = Table("view", "feature", "changes before / after an event", "own item", "with the future", "")
    features: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in verdict.details["features"]:
        features.setdefault((one["view"], one["feature"]), []).append(one)
    for (view, feature), found in features.items():
        told = [one for one in found if one["told"]]
        shifts = sorted((o for o in told if o["test"] == "shift"), key=lambda o: (o["leaks"], o["before"] - o["after"]))
        own = next((f"{o['share']:.0%}" for o in told if o["test"] == "own item"), "")
        future = next((f"{o['correlation']:.2f}" for o in told if o["test"] == "future"), "")
        leaks = any(one["leaks"] for one in found)
        grid.add_row(
            escape(view), escape(feature), _shift(shifts), own, future, "[red]leak[/]" if leaks else "[green]✓[/]"
        )
    return grid


def _shift(shifts: list[dict[str, Any]]) -> str:
    if not shifts:
        return ""
    worst = shifts[-1]
    if worst["before"] == worst["after"] == 0:
        return "never / never"
    return f"{worst['before']:.0%} / {worst['after']:.0%} ({worst['shift']})"
