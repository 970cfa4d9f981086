"""Results of a run: the report as HTML, and the same figures as JSON for scripts."""

import json
from collections.abc import Sequence
from pathlib import Path

from two_tower import report
from two_tower.data.pulled import Pulled
from two_tower.evaluation.evaluate import Report
from two_tower.gates import Verdict
from two_tower.releases.manifest import Manifest, ReleaseError
from two_tower.releases.release import current, verify
from two_tower.report.advice import advise
from two_tower.report.changes import changes
from two_tower.report.items_map import items_map


def write(
    title: str,
    *,
    evaluation: Path,
    model: Path,
    towers: Path,
    pulled: Path,
    verdicts: Sequence[Path],
    releases: str,
    page: Path,
    summary: Path,
) -> None:
    """Write the report of a run, and its figures as JSON.

    Args:
        title: Data set, or address of the feature repository.
        evaluation: File of an `evaluate.Report`.
        model: Folder of the train step.
        towers: Folder of the export step.
        pulled: Folder of the pull step.
        verdicts: Files with the verdict of each gate.
        releases: Folder or URL of the releases; the report compares the model with the current one.
        page: HTML file to write.
        summary: JSON file to write, with `metrics`, `slices`, `counts`, `baselines`, `gates`, `settings`, `split` and
            `advice`.
    """
    report_of_evaluation = Report.read(evaluation)
    gates = [Verdict.read(path) for path in verdicts]
    trained = json.loads((model / "model.json").read_text())
    tables = Pulled.read(pulled, ("catalogue", "interactions"))
    sentences = advise(report_of_evaluation, trained, tables)
    figures = {
        "metrics": report_of_evaluation.metrics,
        "slices": report_of_evaluation.slices,
        "counts": report_of_evaluation.counts,
        "baselines": report_of_evaluation.baselines,
        "gates": {v.gate: {"passed": v.passed, "reasons": list(v.reasons)} for v in gates},
        "settings": trained["config"],
        "split": {"method": tables.bounds.split, "meaning": tables.bounds.meaning},
        "advice": sentences,
    }
    summary.write_text(json.dumps(figures, indent=2))
    described = json.loads((pulled / "pulled.json").read_text())
    since = _current(releases)
    content = report.RunReport(
        title=title,
        verdicts=gates,
        evaluation=report_of_evaluation,
        split=tables.bounds.meaning,
        history=trained["history"],
        items=items_map(towers, tables),
        changes=changes(figures | described, since.model_dump()) if since else (),
        since=since.id if since else "",
        advice=sentences,
    )
    report.write(page, content)


def _current(releases: str) -> Manifest | None:
    """The manifest of the current release; None if it is missing, or corrupt (reported by the promotion gate)."""
    try:
        active = current(releases)
        return verify(releases, active) if active else None
    except ReleaseError:
        return None
