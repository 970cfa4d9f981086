"""The report of a run: one HTML file that needs nothing else, readable on a phone, light or dark as the system."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from two_tower.evaluate import GATED, Report
from two_tower.gates import Verdict

COLUMNS = (GATED, "ndcg@20", "mrr@20", "recall@100", "coverage@20")
SLICES = {
    "cold_users": ("Cold users", "no event in training"),
    "cold_items": ("Cold items", "no event in training"),
    "tail_items": ("Tail items", "outside the most popular fifth in training"),
}
WIDTH, HEIGHT, LEFT, FOOT = 340, 150, 46, 22  # of a learning curve, in pixels; the last two hold its labels


def write_report(
    path: Path,
    *,
    title: str,
    verdicts: Sequence[Verdict],
    evaluation: Report | None,
    history: Sequence[Mapping[str, float]],
    steps: Sequence[Mapping[str, Any]] | None,
    release: str | None,
) -> None:
    """Write the file.

    evaluation: None where a gate stopped the run before. history: metrics of each epoch, with `epoch`, `loss` and
    `recall@20`; may be empty. steps: `name` and `seconds` of each. release: the id of what was promoted, None where
    nothing was, or not yet.
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{_outcome(verdicts, release)}</p>",
        _gates(verdicts),
    ]
    if evaluation is not None:
        body += [_quality(evaluation), _slices(evaluation)]
    if history:
        body.append(_training(history))
    if steps:
        body.append(_steps(steps))
    path.write_text(PAGE.format(title=escape(title), body="\n".join(body)), encoding="utf-8")


def _outcome(verdicts: Sequence[Verdict], release: str | None) -> str:
    if release:
        return f"Promoted as release <code>{escape(release)}</code>."
    held = [verdict.gate for verdict in verdicts if not verdict.passed]
    return f"Held back by the {escape(' and '.join(held))} gate." if held else "Every gate passed."


def _gates(verdicts: Sequence[Verdict]) -> str:
    return f'<ul class="gates">{"".join(map(_gate, verdicts))}</ul>'


def _gate(verdict: Verdict) -> str:
    word, mark = ("passed", "✓") if verdict.passed else ("held back", "✗")
    said = [*verdict.reasons, *([verdict.details["warning"]] if "warning" in verdict.details else [])]
    reasons = f": {' '.join(escape(text) for text in said)}" if said else ""
    style = "good" if verdict.passed else "bad"
    return f'<li><b class="{style}">{mark} {escape(verdict.gate)}</b> {word}{reasons}</li>'


def _quality(report: Report) -> str:
    counts = report.counts
    scale = max(figures[f"{GATED}_high"] for figures in report.metrics.values()) or 1.0
    rows = [
        [_name(model), _with_interval(figures, scale), *(f"{figures[column]:.4f}" for column in COLUMNS[1:])]
        for model, figures in report.metrics.items()
    ]
    return (
        "<h2>Quality on the test window</h2>"
        f"<p>{counts['events']:,} events of {counts['users']:,} users, each ranked among up to {counts['items']:,} "
        f"items as they would have been served. Left out, for the user had seen the item: {counts['left_out']:,}. "
        f"Missed by every model, for the index did not hold the item yet: {counts['not_in_index']:,}. Metrics are "
        f"averaged by user; the range is the 95 % interval.</p>{_table(('Model', *COLUMNS), rows)}"
    )


def _with_interval(figures: Mapping[str, float], scale: float) -> str:
    low, value, high = (100 * figures[key] / scale for key in (f"{GATED}_low", GATED, f"{GATED}_high"))
    return (
        f"{figures[GATED]:.4f} <small>{figures[f'{GATED}_low']:.4f}–{figures[f'{GATED}_high']:.4f}</small>"
        '<svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{value:.1f}" height="6"/><line x1="{low:.1f}" x2="{high:.1f}" y1="3" y2="3"/></svg>'
    )


def _slices(report: Report) -> str:
    models = list(report.metrics)
    rows = []
    for name, part in report.slices.items():
        label, meaning = SLICES[name]
        figures = [part[GATED][model] for model in models]
        rows.append(
            [
                f"{label}<br><small>{meaning}</small>",
                f"{part['events']:,}",
                f"{part['users']:,}",
                *("–" if figure is None else f"{figure:.4f}" for figure in figures),
            ]
        )
    head = ("Slice", "events", "users", *map(_name, models))
    return f"<h2>Where it is hard: {GATED} by slice</h2>{_table(head, rows)}"


def _training(history: Sequence[Mapping[str, float]]) -> str:
    best = max(history, key=lambda epoch: epoch[GATED])
    return (
        f"<h2>Training</h2><p>{len(history)} epochs; the best is epoch {best['epoch']:.0f}, with a validation {GATED} "
        f'of {best[GATED]:.4f}.</p><div class="curves">{_curve(history, GATED, "Validation " + GATED)}'
        f"{_curve(history, 'loss', 'Training loss')}</div>"
    )


def _curve(history: Sequence[Mapping[str, float]], key: str, label: str) -> str:
    """One metric over the epochs."""
    values = [epoch[key] for epoch in history]
    low, high = min(values), max(values)
    across = (WIDTH - LEFT - 8) / max(1, len(values) - 1)
    up = (HEIGHT - FOOT - 12) / ((high - low) or 1)
    points = [(LEFT + across * i, HEIGHT - FOOT - up * (value - low)) for i, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
    floor = HEIGHT - FOOT
    return (
        f'<figure><figcaption>{label}</figcaption><svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{label}: {values[0]:.4g} in the first epoch, {values[-1]:.4g} in the last">'
        f'<path d="M{LEFT} 8V{floor}H{WIDTH}"/><polyline points="{line}"/>{dots}'
        f'<text x="{LEFT - 5}" y="{floor}" text-anchor="end">{low:.3g}</text>'
        f'<text x="{LEFT - 5}" y="16" text-anchor="end">{high:.3g}</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 5}">epoch 1</text>'
        f'<text x="{WIDTH - 4}" y="{HEIGHT - 5}" text-anchor="end">{len(values)}</text></svg></figure>'
    )


def _steps(steps: Sequence[Mapping[str, Any]]) -> str:
    rows = [[escape(str(step["name"])), f"{step['seconds']:.1f}"] for step in steps]
    total = sum(step["seconds"] for step in steps)
    return f"<h2>Steps</h2>{_table(('Step', 'seconds'), [*rows, ['All', f'{total:.1f}']])}"


def _name(model: str) -> str:
    return escape(model.replace("_", " "))


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is text, the others are figures; cells are HTML."""
    top = "".join(f"<th>{cell}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1d2330; --soft: #667085; --line: #e3e6ec; --paper: #fff;
  --accent: #3867d6; --good: #18794e; --bad: #c0362c }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e5e8ee; --soft: #98a2b3; --line: #2c323d; --paper: #14171c;
    --accent: #7da2ff; --good: #5fd39c; --bad: #ff8a80 }}
}}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 56rem; color: var(--ink); background: var(--paper);
  font: 16px/1.5 system-ui, sans-serif }}
h1 {{ font-size: 1.5rem; margin: 0 }}
h2 {{ font-size: 1.1rem; margin: 2.5rem 0 .5rem }}
p, small, figcaption {{ color: var(--soft) }}
small {{ font-size: .8em }}
.gates {{ list-style: none; margin: 1rem 0; padding: 0; border-top: 1px solid var(--line) }}
.gates li {{ padding: .5rem 0; border-bottom: 1px solid var(--line) }}
.good {{ color: var(--good) }}
.bad {{ color: var(--bad) }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
th, td {{ padding: .45rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap }}
th {{ color: var(--soft); font-weight: 500; font-size: .85rem }}
th:first-child, td:first-child {{ text-align: left; padding-left: 0 }}
.bar {{ display: block; width: 100%; height: 6px; margin-top: 3px }}
.bar rect {{ fill: var(--accent); opacity: .35 }}
.bar line {{ stroke: var(--accent); stroke-width: 2 }}
.curves {{ display: flex; flex-wrap: wrap; gap: 1.5rem }}
figure {{ margin: 0; flex: 1 1 18rem }}
.curve {{ width: 100%; height: auto }}
.curve path {{ fill: none; stroke: var(--line) }}
.curve polyline {{ fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round }}
.curve circle {{ fill: var(--accent) }}
.curve text {{ fill: var(--soft); font-size: 11px }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
