"""What a run says of itself: the report for people, and the same figures as JSON for scripts."""

import json
from collections.abc import Sequence
from pathlib import Path

from two_tower.evaluate import Report
from two_tower.gates import Verdict
from two_tower.report import write_report


def write(title: str, evaluation: Path, model: Path, verdicts: Sequence[Path], page: Path, summary: Path) -> None:
    """Write the report to `page` and `{"metrics", "slices", "counts", "gates"}` to `summary`.

    evaluation: file of an `evaluate.Report`. model: folder that training wrote. verdicts: files, a gate each.
    """
    measured = Report.read(evaluation)
    judged = [Verdict.read(path) for path in verdicts]
    history = json.loads((model / "model.json").read_text())["history"]
    write_report(page, title=title, verdicts=judged, evaluation=measured, history=history, steps=None, release=None)
    figures = {
        "metrics": measured.metrics,
        "slices": measured.slices,
        "counts": measured.counts,
        "gates": {v.gate: {"passed": v.passed, "reasons": list(v.reasons)} for v in judged},
    }
    summary.write_text(json.dumps(figures, indent=2))
