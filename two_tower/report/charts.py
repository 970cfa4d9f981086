"""Charts as SVG text. They use the colours of the page, distinguish series without colour, and need no script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH, HEIGHT = 460, 240
LEFT, RIGHT, TOP, FOOT = 44, 96, 14, 38
LEAST_GAP = 13  # pixels between the labels of two lines
ROW = 26  # height of a row of `intervals`


@dataclass(frozen=True)
class Line:
    """A series of a line chart.

    Attributes:
        name: Label at the right end.
        values: One value per tick.
        style: Class in the style sheet of the page, such as `own` or `peer-2`.
    """

    name: str
    values: Sequence[float]
    style: str


def lines(
    title: str,
    ticks: Sequence[str],
    series: Sequence[Line],
    x_label: str,
    *,
    percent: bool = False,
    from_zero: bool = True,
) -> str:
    """Draw lines over common, evenly spaced ticks, each with its name at the right end.

    Args:
        title: Title of the chart.
        ticks: Labels of the ticks.
        series: Lines, with one value per tick.
        x_label: Label of the horizontal axis.
        percent: Whether values are shares and are shown in per cent.
        from_zero: Whether the vertical axis starts at 0; otherwise it starts at the least value, to show small changes.

    Returns:
        HTML of the chart.
    """
    values = [value for line in series for value in line.values]
    low = 0.0 if from_zero else min(values)
    top = max(values) if max(values) > low else low + 1.0
    across = (WIDTH - LEFT - RIGHT) / max(1, len(ticks) - 1)

    def place(index: int, value: float) -> tuple[float, float]:
        return LEFT + across * index, HEIGHT - FOOT - (HEIGHT - FOOT - TOP) * (value - low) / (top - low)

    def shown(value: float) -> str:
        return f"{value:.0%}" if percent else f"{value:.3f}" if abs(value) < 10 else f"{value:.4g}"

    parts = [
        f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - FOOT}H{WIDTH - RIGHT}"/>',
        *(
            f'<text x="{LEFT - 6}" y="{place(0, value)[1] + 4:.1f}" text-anchor="end">{shown(value)}</text>'
            for value in (low, (low + top) / 2, top)
        ),
        *(
            f'<text x="{place(i, low)[0]:.1f}" y="{HEIGHT - FOOT + 15}" text-anchor="middle">{escape(tick)}</text>'
            for i, tick in enumerate(ticks)
            if len(ticks) <= 12 or i % (len(ticks) // 8) == 0
        ),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>',
    ]
    labels = _spread([place(0, line.values[-1])[1] for line in series])
    for line, label in zip(series, labels, strict=True):
        points = [place(i, value) for i, value in enumerate(line.values)]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
        parts.append(
            f'<g class="{line.style}"><polyline points="{drawn}"/>{dots}'
            f'<text x="{points[-1][0] + 8:.1f}" y="{label + 4:.1f}">{escape(line.name)}</text></g>'
        )
    description = "; ".join(f"{line.name}: {shown(line.values[0])} to {shown(line.values[-1])}" for line in series)
    return _figure(title, description, WIDTH, HEIGHT, parts)


def intervals(title: str, rows: Mapping[str, tuple[float, float, float]], styles: Mapping[str, str]) -> str:
    """Draw a dot with its interval for each name, on an axis from zero.

    Args:
        title: Title of the chart.
        rows: Lower bound, value and upper bound by name.
        styles: Class in the style sheet by name.

    Returns:
        HTML of the chart.
    """
    top = max((high for _, _, high in rows.values()), default=0.0) or 1.0
    left, height = 96, ROW * len(rows) + 24

    def x(value: float) -> float:
        return left + (WIDTH - left - 60) * value / top

    parts = [f'<path class="axis" d="M{left} 4V{height - 20}H{WIDTH - 60}"/>']
    for number, (name, (low, value, high)) in enumerate(rows.items()):
        y = 4 + ROW * (number + 0.5)
        parts.append(
            f'<g class="{styles[name]}"><text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(name)}</text>'
            f'<path class="whisker" d="M{x(low):.1f} {y}H{x(high):.1f}"/><circle cx="{x(value):.1f}" cy="{y}" r="4.5"/>'
            f'<text x="{x(high) + 8:.1f}" y="{y + 4}">{value:.3f}</text></g>'
        )
    parts += [
        f'<text x="{left}" y="{height - 4}" text-anchor="middle">0</text>',
        f'<text x="{x(top):.0f}" y="{height - 4}" text-anchor="middle">{top:.2g}</text>',
    ]
    description = "; ".join(
        f"{name}: {value:.4f}, {low:.4f} to {high:.4f}" for name, (low, value, high) in rows.items()
    )
    return _figure(title, description, WIDTH, height, parts)


def _figure(title: str, description: str, width: int, height: int, parts: Sequence[str]) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(title)}. {escape(description)}">{"".join(parts)}</svg></figure>'
    )


def _spread(heights: Sequence[float]) -> list[float]:
    """Move labels down until none overlap, then all up if the last one is outside the chart."""
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed = list(heights)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + LEAST_GAP)
    beyond = max(0.0, max(placed, default=0.0) - (HEIGHT - FOOT))
    return [height - beyond for height in placed]


def bars(title: str, rows: Mapping[str, float]) -> str:
    """Draw a bar for each share, with its percentage.

    Args:
        title: Title of the chart.
        rows: Share by name.

    Returns:
        HTML of the chart.
    """
    top = max(rows.values(), default=0.0) or 1.0
    left, height = 140, ROW * len(rows) + 8
    parts = []
    for number, (name, value) in enumerate(rows.items()):
        y, wide = 4 + ROW * number, (WIDTH - left - 60) * max(value, 0.0) / top
        parts.append(
            f'<g class="own"><text x="{left - 8}" y="{y + 17}" text-anchor="end">{escape(name)}</text>'
            f'<path class="bar" d="M{left} {y + 6}h{wide:.1f}v14h-{wide:.1f}z"/>'
            f'<text x="{left + wide + 8:.1f}" y="{y + 17}">{value:.0%}</text></g>'
        )
    description = "; ".join(f"{name}: {value:.0%}" for name, value in rows.items())
    return _figure(title, description, WIDTH, height, parts)


@dataclass(frozen=True)
class Dot:
    """A point of a scatter chart.

    Attributes:
        x: Horizontal position from 0, left, to 1.
        value: Value on the vertical axis.
        style: Class in the style sheet of the page.
        label: Text of the tooltip.
    """

    x: float
    value: float
    style: str
    label: str


def dots(
    title: str,
    ticks: Mapping[str, float],
    series: Sequence[Dot],
    x_label: str,
    line: Sequence[tuple[float, float]] = (),
) -> str:
    """Draw points, and optionally a line.

    Args:
        title: Title of the chart.
        ticks: Position from 0 to 1 by label.
        series: Points.
        x_label: Label of the horizontal axis.
        line: Points of the line as (position, value); can be empty.

    Returns:
        HTML of the chart.
    """
    values = [dot.value for dot in series] + [value for _, value in line]
    low, high = min(values, default=0.0), max(values, default=1.0)
    top = high if high > low else low + 1.0

    def x(place: float) -> float:
        return LEFT + 12 + (WIDTH - LEFT - 36) * place

    def y(value: float) -> float:
        return HEIGHT - FOOT - 6 - (HEIGHT - FOOT - TOP - 6) * (value - low) / (top - low)

    parts = [f'<path class="axis" d="M{LEFT} {TOP}V{HEIGHT - FOOT}H{WIDTH - 12}"/>']
    parts += [
        f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3f}</text>'
        for value in (low, (low + top) / 2, top)
    ]
    parts += [
        f'<text x="{x(place):.1f}" y="{HEIGHT - FOOT + 15}" text-anchor="middle">{escape(tick)}</text>'
        for tick, place in ticks.items()
    ]
    parts.append(f'<text x="{x(0.5):.0f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    if line:
        points = " ".join(f"{x(place):.1f},{y(value):.1f}" for place, value in line)
        parts.append(f'<g class="own"><polyline points="{points}"/></g>')
    parts += [
        f'<g class="{dot.style}"><circle cx="{x(dot.x):.1f}" cy="{y(dot.value):.1f}" r="4">'
        f"<title>{escape(dot.label)}</title></circle></g>"
        for dot in series
    ]
    best = max(series, key=lambda dot: dot.value, default=None)
    return _figure(title, f"{len(series)} points; the highest: {best.label}" if best else "none", WIDTH, HEIGHT, parts)
