"""The report of a run: one HTML file that needs nothing else, readable on a phone, light or dark as the system.

Everything is computed here; the template `page.html` only places it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2

from two_tower.evaluation.evaluate import BANDS, CURVE_AT, GATED, TAKEN, Report
from two_tower.gates import Verdict
from two_tower.report.charts import Line, intervals, lines
from two_tower.report.drift import moved

COLUMNS = (GATED, "ndcg@20", "mrr@20", "recall@100", "coverage@20")
SLICES = {
    "cold_users": ("Cold users", "no event in training"),
    "cold_items": ("Cold items", "no event in training"),
    "tail_items": ("Tail items", "outside the most popular fifth in training"),
}
RUN = "<!-- the run -->"  # where `with_run` puts what only the runner knows
_STYLES = {"two_tower": "own", "popularity": "peer-1", "item_knn": "peer-2", "oracle": "oracle", TAKEN: "taken"}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the report tells.

    evaluation: None where a gate stopped the run before. history: metrics of each epoch, with `epoch`, `loss` and
    `recall@20`; may be empty. items: of `items_map.items_map`, None for no map. changes: of `changes.changes`; since:
    the release that they are compared with.
    """

    title: str
    verdicts: Sequence[Verdict]
    evaluation: Report | None = None
    history: Sequence[Mapping[str, float]] = ()
    items: Mapping[str, Any] | None = None
    changes: Sequence[tuple[str, str, str]] = field(default=())
    since: str = ""


def write(path: Path, told: Told) -> None:
    """Write the page; `with_run` can later add the steps and the release."""
    evaluation = told.evaluation
    page = environment().get_template("page.html")
    text = page.render(
        told=told,
        name=told.title.rstrip("/").rpartition("/")[2],
        held=" and ".join(verdict.gate for verdict in told.verdicts if not verdict.passed),
        counts=evaluation.counts if evaluation else None,
        quality=_quality(evaluation) if evaluation else (),
        columns=COLUMNS,
        slices=_slices(evaluation) if evaluation else (),
        charts=_charts(evaluation) if evaluation else {},
        best=max(told.history, key=lambda epoch: epoch[GATED]) if told.history else None,
        learning=_learning(told.history) if told.history else (),
        details={v.gate: _details(v) for v in told.verdicts},
        moved=moved(told.verdicts),
        items=json.dumps(told.items).replace("<", "\\u003c") if told.items else "",
        run=RUN,
    )
    path.write_text(text, encoding="utf-8")


def with_run(page: str, steps: Sequence[Mapping[str, Any]], release: str | None) -> str:
    """The page of `write` with a table of the steps and the promoted release's id.

    steps: `name`, `seconds`, `cached`, `cpu_seconds` and `peak_memory_mb` of each, and `cost` of all or of none.
    """
    longest = max((step["seconds"] for step in steps), default=0) or 1
    priced = bool(steps) and "cost" in steps[0]
    page_of_run = environment().get_template("run.html")
    fragment = page_of_run.render(steps=steps, longest=longest, release=release, priced=priced)
    return page.replace(RUN, fragment)


def environment() -> jinja2.Environment:
    """The templates beside this file; what they show is escaped."""
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
    """The charts of the quality on the test window, by name."""
    bounds = {
        _name(model): (figures[f"{GATED}_low"], figures[GATED], figures[f"{GATED}_high"])
        for model, figures in report.metrics.items()
    }
    styles = {_name(model): _style(model) for model in report.metrics}
    by_k = [Line(_name(model), values, _style(model)) for model, values in report.curve.items()]
    exposed = [Line(_name(model), values, _style(model)) for model, values in report.exposure.items()]
    bands = [f"{n + 1}" for n in range(BANDS)]
    return {
        "intervals": intervals(f"{GATED}, with its 95\u00a0% interval", bounds, styles),
        "by_k": lines("Recall, by the number of items asked for", list(map(str, CURVE_AT)), by_k, "k"),
        "exposure": lines(
            "Who is shown: share of the recommendations by popularity of the item",
            bands,
            exposed,
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
    """What a gate measured, for those who want to know: its details as (name, text), nested ones joined."""
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
        # A table of figures would bury the rest; the step's own page or artifact has it.
        return f"{len(value):,} entries" if value and isinstance(value[0], Mapping) else ", ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
