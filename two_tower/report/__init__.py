"""The report of a run: a self-contained HTML file, readable on a phone, light or dark like the system.

This module computes all values; the template `page.html` only lays them out.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from two_tower.evaluation.evaluate import BANDS, CURVE_AT, GATED, TEST_EVENTS, Report
from two_tower.gates import Verdict
from two_tower.report.charts import Line, intervals, lines
from two_tower.report.drift import drift_table

COLUMNS = (GATED, "ndcg@20", "mrr@20", "recall@100", "coverage@20")
SLICES = {
    "cold_users": ("Cold users", "no training event"),
    "cold_items": ("Cold items", "no training event"),
    "tail_items": ("Tail items", "outside the most popular fifth in training"),
}
RUN = "<!-- the run -->"  # position at which `with_run` inserts the steps and the release
_STYLES = {
    "two_tower": "own",
    "popularity": "peer-1",
    "item_knn": "peer-2",
    "cooccurrence": "peer-3",
    "ease": "peer-4",
    "oracle": "oracle",
    TEST_EVENTS: "test-events",
}


@dataclass(frozen=True, kw_only=True)
class RunReport:
    """Content of the report.

    Attributes:
        title: Data set, or address of the feature repository.
        verdicts: Verdicts of the gates.
        evaluation: Result of the evaluation. None if a gate stopped the run before.
        split: Sentences that say how the rows are split.
        history: Metrics of each epoch, with `epoch`, `loss` and `recall@20`; can be empty.
        items: Result of `items_map.items_map`, or None for no map.
        changes: Result of `changes.changes`.
        since: Id of the release that `changes` compares with, or empty.
        advice: Result of `advice.advise`.
    """

    title: str
    verdicts: Sequence[Verdict]
    evaluation: Report | None = None
    split: str = ""
    history: Sequence[Mapping[str, float]] = ()
    items: Mapping[str, Any] | None = None
    changes: Sequence[tuple[str, str, str]] = field(default=())
    since: str = ""
    advice: Sequence[str] = ()


def write(path: Path, report: RunReport) -> None:
    """Write the page. `with_run` can add the steps and the release later.

    Args:
        path: HTML file to write.
        report: Content of the page.
    """
    evaluation = report.evaluation
    page = environment().get_template("page.html")
    text = page.render(
        report=report,
        name=report.title.rstrip("/").rpartition("/")[2],
        held=" and ".join(verdict.gate for verdict in report.verdicts if not verdict.passed),
        counts=evaluation.counts if evaluation else None,
        quality=_quality(evaluation) if evaluation else (),
        columns=COLUMNS,
        baselines=_baselines(evaluation) if evaluation else (),
        slices=_slices(evaluation) if evaluation else (),
        charts=_charts(evaluation) if evaluation else {},
        best=max(report.history, key=lambda epoch: epoch[GATED]) if report.history else None,
        learning=_learning(report.history) if report.history else (),
        details={v.gate: _details(v) for v in report.verdicts},
        drift=drift_table(report.verdicts),
        items=json.dumps(report.items).replace("<", "\\u003c") if report.items else "",
        run=RUN,
    )
    path.write_text(text, encoding="utf-8")


def with_run(
    page: str,
    steps: Sequence[Mapping[str, Any]],
    release: str | None,
    next_steps: Sequence[str] = (),
    questions: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Add a table of the steps, and the id of the promoted release or the next steps, to a page.

    Args:
        page: HTML that `write` wrote.
        steps: For each step `name`, `seconds`, `cached`, `cpu_seconds` and `peak_memory_mb`; also `cost`, for all steps
            or for none.
        release: Id of the promoted release, or None.
        next_steps: What to do after a gate has held the run; one sentence each.
        questions: Rows of the smoke test's table: `kind`, `asked`, `right` and `differ`.

    Returns:
        The HTML with the table.
    """
    longest = max((step["seconds"] for step in steps), default=0) or 1
    priced = bool(steps) and "cost" in steps[0]
    page_of_run = environment().get_template("run.html")
    fragment = page_of_run.render(
        steps=steps, longest=longest, release=release, priced=priced, next_steps=next_steps, questions=questions
    )
    return page.replace(RUN, fragment)


def environment() -> jinja2.Environment:
    """Return the environment of the templates in this folder; it escapes all values."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("two_tower.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _name(model: str) -> str:
    return model.replace("_", " ")


def _style(model: str) -> str:
    return _STYLES.get(model, "peer-3")


def _quality(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "name": _name(model),
            "figures": [f"{figures[column]:.4f}" for column in COLUMNS],
            "interval": f"{figures[f'{GATED}_low']:.4f}–{figures[f'{GATED}_high']:.4f}",
        }
        for model, figures in report.metrics.items()
    ]


def _baselines(report: Report) -> list[dict[str, Any]]:
    """The chosen settings of each baseline, and how they were chosen."""
    return [
        {
            "name": _name(model),
            "settings": ", ".join(f"{name} {value:g}" for name, value in choice["settings"].items()),
            "recall": "–" if (recall := choice[f"validation_{GATED}"]) is None else f"{recall:.4f}",
            "tried": choice["tried"],
            "seconds": f"{choice['seconds']:.0f}",
            "note": choice.get("note", ""),
        }
        for model, choice in report.baselines.items()
    ]


def _slices(report: Report) -> list[dict[str, Any]]:
    return [
        {
            "label": SLICES[name][0],
            "meaning": SLICES[name][1],
            "events": part["events"],
            "users": part["users"],
            "figures": ["–" if (value := part[GATED][model]) is None else f"{value:.4f}" for model in report.metrics],
        }
        for name, part in report.slices.items()
    ]


def _charts(report: Report) -> dict[str, str]:
    """The charts of the test metrics, by name."""
    bounds = {
        _name(model): (figures[f"{GATED}_low"], figures[GATED], figures[f"{GATED}_high"])
        for model, figures in report.metrics.items()
    }
    styles = {_name(model): _style(model) for model in report.metrics}
    by_k = [Line(_name(model), values, _style(model)) for model, values in report.curve.items()]
    exposure = [Line(_name(model), values, _style(model)) for model, values in report.exposure.items()]
    bands = [f"{n + 1}" for n in range(BANDS)]
    return {
        "intervals": intervals(f"{GATED}, with its 95\u00a0% interval", bounds, styles),
        "by_k": lines("Recall@k", list(map(str, CURVE_AT)), by_k, "k"),
        "exposure": lines(
            "Exposure: share of the recommendations by popularity of the item",
            bands,
            exposure,
            "tenths of the catalogue, the most popular first",
            percent=True,
        ),
    }


def _learning(history: Sequence[Mapping[str, float]]) -> list[str]:
    """One chart of validation recall and one of the loss, by epoch."""
    epochs = [f"{epoch['epoch']:.0f}" for epoch in history]
    shown = {GATED: f"Validation {GATED}", "loss": "Training loss"}
    return [
        lines(title, epochs, [Line("", [epoch[key] for epoch in history], "own")], "epoch", from_zero=False)
        for key, title in shown.items()
    ]


def _details(verdict: Verdict) -> list[tuple[str, str]]:
    """The details of a gate as (name, text); nested values are joined."""
    rows: list[tuple[str, str]] = []
    for name, value in verdict.details.items():
        if name != "warning" and value not in (None, [], {}):
            rows.append((_name(name), _text(value)))
    return rows


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_name(str(key))} {_text(part)}" for key, part in value.items() if part not in (None, ""))
    if isinstance(value, list | tuple):
        # A long table would hide the rest; the page or artifact of the step has it.
        return f"{len(value):,} entries" if value and isinstance(value[0], Mapping) else ", ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
