"""The result of a run on the terminal, and the next steps after a gate has held it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from pipelines.cli.console import labelled


def next_steps(gate: str, reasons: Sequence[str], command: str, out: Path, advice: Sequence[str]) -> list[str]:
    """Describe what to do after a gate has held a run.

    Args:
        gate: Name of the gate.
        reasons: Why it holds the run.
        command: Command line of the run.
        out: Output folder of the run.
        advice: Sentences of `two_tower.report.advice`, for the promotion gate.

    Returns:
        One sentence each, the first one first.
    """
    has_release = (out / "releases" / "current").exists()
    if gate == "promotion":
        steps = _promotion(" ".join(reasons), command, advice)
    else:
        steps = _steps(gate, command, out, has_release=has_release)
    return [*steps, *_serving(out, has_release=has_release)]


def _promotion(reasons: str, command: str, advice: Sequence[str]) -> list[str]:
    steps = list(advice) or [
        "Train with other settings: `two-tower settings` lists all, and `two-tower tune` searches."
    ]
    relaxed = {"min_lift": "min_lift=0", "baseline_tolerance": "baseline_tolerance=1", "release": "tolerance=0.05"}
    if "min_lift" in reasons:
        del relaxed["baseline_tolerance"]  # with min_lift=0 no baseline holds the model
    accept = " ".join(f"--set {setting}" for word, setting in relaxed.items() if word in reasons)
    return [*steps, f"To accept this model as it is: {command} {accept}"]


def _steps(gate: str, command: str, out: Path, *, has_release: bool) -> list[str]:
    again = f"run again (steps whose inputs have not changed are reused): {command}"
    if gate == "data":
        steps = [
            f"See each failed check in {out / 'data.html'}.",
            f"Correct the source that a reason names, and {again}",
        ]
        if has_release:
            steps.append(f"If the data changed on purpose, accept it once: {command} --set compare_with=nothing")
        return steps
    if gate == "leaks":
        return [
            "Compute the feature that a reason names from events before its timestamp, or remove its Field from the "
            "feature service.",
            f"Then {again}",
        ]
    return [f"Correct what a reason names, and {again}"]


def _serving(out: Path, *, has_release: bool) -> list[str]:
    if not has_release:
        return []
    return [f"The current release keeps serving. All releases: two-tower releases list --releases {out / 'releases'}"]


def quality(metrics: Mapping[str, Mapping[str, float]]) -> Table:
    """Table of the metrics of each model."""
    columns = ["recall@10", "recall@20", "recall@100", "ndcg@20", "coverage@20"]  # as many as fit into 80 characters
    table = Table(Column("model", no_wrap=True), *columns, title="test window")
    for model, figures in metrics.items():
        table.add_row(model, *(f"{figures[c]:.4f}" for c in columns))
    return table


def explain(summary: Mapping[str, Any], release: str | None, folder: Path, out: Console, err: Console) -> None:
    """Print the result of a run: the release, the error, or why a gate held it and what to do next.

    Args:
        summary: `gates`, and as they apply `advice`, `next` and `error`.
        release: Id of the promoted release, or None.
        folder: Output folder of the run.
        out: Console for results.
        err: Console for errors and the reasons of a gate.
    """
    report, log = folder / "report.html", folder / "run.log"
    if release is not None:
        for number, sentence in enumerate(summary.get("advice", [])):
            label = labelled("  -", "") if number else labelled("note:", "bold yellow")
            err.print(label, sentence, soft_wrap=True)
        out.print(Text.assemble("promoted: release ", (release, "bold"), f"\nreport:   {report}"), soft_wrap=True)
        out.print(f"serve it: two-tower serve --releases {folder / 'releases'}", soft_wrap=True)
    elif "error" in summary:
        message = f" {summary['error']['message']}\nfull log: {log}"
        err.print(labelled("error:", "bold red", message), soft_wrap=True)
    else:
        held = [(gate, verdict) for gate, verdict in summary["gates"].items() if not verdict["passed"]]
        for gate, verdict in held:
            err.print(labelled("held:", "bold yellow", f" the {gate} gate holds this release back"))
            for reason in verdict["reasons"]:
                err.print(f"  - {reason}", soft_wrap=True)
        err.print("next:")
        for step in summary["next"]:
            err.print(f"  - {step}", soft_wrap=True)
        err.print(f"report: {report}\nfull log: {log}", soft_wrap=True)
