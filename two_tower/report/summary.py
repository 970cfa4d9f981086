"""What a run says of itself: the report for people, and the same figures as JSON for scripts."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from two_tower import report
from two_tower.data.pulled import Pulled
from two_tower.evaluation.evaluate import Report
from two_tower.gates import Verdict
from two_tower.releases import release
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
        changes=changes(figures | described, since) if since else (),
        since=since["id"] if since else "",
    )
    report.write(page, told)


def _current(releases: str) -> dict[str, Any] | None:
    """The manifest of the release that serves; None where there is none, or a torn one, of which the gate warns."""
    try:
        current = release.current(releases)
        if current is None:
            return None
        with tempfile.TemporaryDirectory() as cache:
            manifest = release.local_copy(releases, current, Path(cache)) / release.MANIFEST
            return dict(json.loads(manifest.read_text()))
    except release.ReleaseError:
        return None
