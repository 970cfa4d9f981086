"""`two-tower leaks`."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.command import command
from pipelines.cli.options import AsOf, check_instant
from pipelines.cli.output import Output
from pipelines.exit_status import ExitStatus

if TYPE_CHECKING:
    from rich.table import Table

    from two_tower.gates import Verdict


@command("two-tower leaks --feature-repo my_repo", extras="data")
def leaks(
    output: Output,
    feature_repo: Annotated[Path, typer.Option(help="Feast feature repository to check.")],
    as_of: AsOf = "",
) -> int:
    """Check whether a feature contains future information. Exit status 3: at least one does."""
    with output.progress("reading the features") as progress:
        from two_tower.checks.leaks import check

        if as_of:
            check_instant(as_of)
        verdict = check(feature_repo, datetime.fromisoformat(as_of) if as_of else None, progress=progress.part)
    _print(output, verdict)
    output.json({"passed": verdict.passed, "reasons": verdict.reasons, **verdict.details})
    return ExitStatus.DONE if verdict.passed else ExitStatus.HELD


def _print(output: Output, verdict: "Verdict") -> None:
    from pipelines.cli.console import labelled

    output.text.print(_grid(verdict))
    if inconclusive := verdict.details["inconclusive"]:
        output.text.print(f"not enough events to judge: {', '.join(inconclusive)}")
    if verdict.passed:
        output.text.print("these tests found no feature with future information")
    for reason in verdict.reasons:
        output.err.print(labelled("leak:", "bold red", f" {reason}"), soft_wrap=True)


def _grid(verdict: "Verdict") -> "Table":
    from rich.table import Table

    from pipelines.cli.console import labelled

    grid = Table("view", "feature", "changes before / after an event", "own item", "with the future", "")
    results: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for result in verdict.details["features"]:
        results.setdefault((result["view"], result["feature"]), []).append(result)
    for (view, feature), all_tests in results.items():
        judged = [test for test in all_tests if test["conclusive"]]
        own = next((f"{test['share']:.0%}" for test in judged if test["test"] == "own item"), "")
        future = f"{max(shares):.0%}" if (shares := [t["share"] for t in judged if t["test"] == "future"]) else ""
        leaks = any(test["leaks"] for test in all_tests)
        mark = labelled("leak", "red") if leaks else labelled("✓", "green")
        grid.add_row(view, feature, _shift(judged), own, future, mark)
    return grid


def _shift(tests: list[dict[str, Any]]) -> str:
    """The worst of the tests that shift a feature in time."""
    shifts = [test for test in tests if test["test"] == "shift"]
    if not shifts:
        return ""
    worst = max(shifts, key=lambda test: (test["leaks"], test["before"] - test["after"]))
    if worst["before"] == worst["after"] == 0:
        return "never / never"
    return f"{worst['before']:.0%} / {worst['after']:.0%} ({worst['shift']})"
