"""The report of the data gate: one self-contained HTML page."""

from html import escape

from two_tower.checks.outcome import Outcome
from two_tower.data.pulled import Bounds
from two_tower.gates import Verdict

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #1c2026; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { border-bottom: 1px solid #d8dce2; padding: .3rem .6rem; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
.held { color: #a4161a; } .passed { color: #1b6e3c; } .warned { color: #8a5a00; }
"""


def page(verdict: Verdict, outcomes: list[Outcome], bounds: Bounds) -> str:
    """Render the report.

    Args:
        verdict: The verdict of the data gate.
        outcomes: The results of all expectations.
        bounds: The times that separate the splits.

    Returns:
        HTML with the verdict, its reasons, and all expectations by table, failed expectations first.
    """
    word = "passed" if verdict.passed else "held"
    rows = verdict.details["rows"]
    parts = [
        f"<h1>Data gate: <span class='{word}'>{word}</span></h1>",
        f"<p>{len(outcomes)} expectations, {len(verdict.reasons)} failed, {len(verdict.details['warnings'])} warnings. "
        f"{bounds.meaning}</p>",
        *_list("Reasons", "held", verdict.reasons),
        *_list("Warnings", "warned", verdict.details["warnings"]),
    ]
    for table in [*rows, *sorted({o.table for o in outcomes} - set(rows))]:
        parts.append(f"<h2>{escape(table)}{f': {rows[table]:,} rows' if table in rows else ''}</h2>")
        parts.append(_table([o for o in outcomes if o.table == table]))
    head = f"<meta charset='utf-8'><title>Data gate: {word}</title><style>{_STYLE}</style>"
    return f"<!doctype html><html lang='en'><head>{head}</head><body>{''.join(parts)}</body></html>\n"


def _list(title: str, kind: str, sentences: list[str] | tuple[str, ...]) -> list[str]:
    lines = "".join(f"<li>{escape(s)}</li>" for s in sentences)
    return [f"<h2 class='{kind}'>{title}</h2><ul>{lines}</ul>"] if sentences else []


def _table(outcomes: list[Outcome]) -> str:
    lines = []
    for o in sorted(outcomes, key=lambda o: (o.passed, o.warning, o.columns)):
        word, kind = ("passed", "passed") if o.passed else ("warning", "warned") if o.warning else ("failed", "held")
        allowed = ", ".join(f"{name} {value}" for name, value in o.allowed.items())
        counts = f"{o.counted[0]} of {o.counted[1]} failed" if o.counted else None
        observed = counts or ("" if o.observed is None else o.observed)
        cells = (", ".join(o.columns), o.expectation, allowed, o.error or observed)
        lines.append(
            f"<tr><td class='{kind}'>{word}</td>" + "".join(f"<td>{escape(str(c))}</td>" for c in cells) + "</tr>"
        )
    head = "<tr><th></th><th>column</th><th>expectation</th><th>allowed</th><th>observed</th></tr>"
    return f"<table>{head}{''.join(lines)}</table>"
