"""What a run says of itself: the report for people, and the same figures as JSON for scripts."""

import json
from collections.abc import Sequence
from pathlib import Path

from two_tower import report
from two_tower.data.pulled import Pulled
from two_tower.evaluation.evaluate import Report
from two_tower.gates import Verdict
from two_tower.releases.manifest import Manifest, ReleaseError
from two_tower.releases.release import current, verify
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
    """Write the report to `page` and `{"metrics", "slices", "counts", "gates", "settings"}` to `summary`.

    evaluation: file of an `evaluate.Report`. model, towers, pulled: folders of those steps. verdicts: files, a gate
    each. releases: where the release lies that the new one is compared with, if there is one.
    """
    measured = Report.read(evaluation)
    judged = [Verdict.read(path) for path in verdicts]
    trained = json.loads((model / "model.json").read_text())
    tables = Pulled.read(pulled, ("catalogue",))
    figures = {
        "metrics": measured.metrics,
        "slices": measured.slices,
        "counts": measured.counts,
        "gates": {v.gate: {"passed": v.passed, "reasons": list(v.reasons)} for v in judged},
        "settings": trained["config"],
    }
    summary.write_text(json.dumps(figures, indent=2))
    described = json.loads((pulled / "pulled.json").read_text())
    since = _current(releases)
    told = report.Told(
        title=title,
        verdicts=judged,
        evaluation=measured,
        history=trained["history"],
        items=items_map(towers, tables),
        changes=changes(figures | described, since.model_dump()) if since else (),
        since=since.id if since else "",
    )
    report.write(page, told)


def _current(releases: str) -> Manifest | None:
    """The manifest of the current release; None if there is none, or a torn one, which the promotion gate reports."""
    try:
        active = current(releases)
        return verify(releases, active) if active else None
    except ReleaseError:
        return None
