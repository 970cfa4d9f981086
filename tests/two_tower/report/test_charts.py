import re
from itertools import pairwise

import pytest

from two_tower.report.charts import HEIGHT, LEAST_GAP, Dot, Line, bars, dots, intervals, lines


def heights(chart: str) -> list[float]:
    """Heights of the labels at the ends of the lines."""
    return [float(y) for y in re.findall(r'</g>|<text x="[\d.]+" y="([\d.]+)">', chart) if y]


def test_the_highest_value_is_highest_and_zero_on_the_axis():
    chart = lines("t", ["1", "2"], [Line("a", [0, 4], "own")], "k")
    (points,) = re.findall(r'points="([^"]+)"', chart)
    (_, low), (_, high) = (map(float, point.split(",")) for point in points.split())
    assert high < low < HEIGHT
    assert ">4.000</text>" in chart and ">0.000</text>" in chart


def test_an_axis_may_start_at_the_least_value():
    chart = lines("t", ["1", "2"], [Line("a", [3, 4], "own")], "k", from_zero=False)
    assert ">3.000</text>" in chart and ">0.000</text>" not in chart


@pytest.mark.parametrize("values", [[1, 1, 1, 1], [0.5, 0.51, 0.52, 0.53], [0, 0, 0, 0]])
def test_labels_of_near_lines_do_not_overlap_and_stay_inside(values):
    chart = lines("t", ["1", "2"], [Line(str(i), [0, value], "own") for i, value in enumerate(values)], "k")
    positions = sorted(heights(chart))
    assert len(positions) == 4
    assert all(b - a >= LEAST_GAP - 0.11 for a, b in pairwise(positions))
    assert positions[0] > 0 and positions[-1] <= HEIGHT


def test_an_interval_spans_its_bounds_around_the_dot():
    chart = intervals("t", {"a": (0.1, 0.2, 0.4)}, {"a": "own"})
    low, high = map(float, re.search(r'd="M([\d.]+) [\d.]+H([\d.]+)"/><circle', chart).groups())
    dot = float(re.search(r'cx="([\d.]+)"', chart).group(1))
    assert (dot - low) * 2 == pytest.approx(high - dot, abs=0.2)
    assert "a: 0.2000, 0.1000 to 0.4000" in chart, "the text alternative"


def test_a_bar_is_as_long_as_its_share():
    chart = bars("t", {"a": 0.6, "b": 0.3, "c": 0.0})
    long, half, none = (float(wide) for wide in re.findall(r'class="bar" d="M140 \d+h([\d.]+)', chart))
    assert long == pytest.approx(2 * half, abs=0.2) and none == 0 and ">60%</text>" in chart


def test_dots_are_at_their_positions_and_can_have_a_line():
    one, two = Dot(0.0, 0.1, "own", "first"), Dot(1.0, 0.3, "oracle", "second")
    chart = dots("t", {"low": 0.0, "high": 1.0}, [one, two], "x", [(0.0, 0.1), (1.0, 0.3)])
    (x1, y1), (x2, y2) = (map(float, at) for at in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart))
    assert x1 < x2 and y2 < y1 < HEIGHT and "<title>second</title>" in chart
    assert f'points="{x1},{y1} {x2},{y2}"' in chart
    assert "2 points; the highest: second" in chart and "none" in dots("t", {}, [], "x")


def test_text_is_escaped():
    assert "<b>" not in bars("<b>", {"<b>": 1.0})
    assert "<b>" not in dots("<b>", {"<b>": 0.5}, [Dot(0.5, 1.0, "own", "<b>")], "<b>")
    assert "<b>" not in lines("<b>", ["<b>"], [Line("<b>", [1], "own")], "<b>")
    assert "<b>" not in intervals("<b>", {"<b>": (0, 1, 1)}, {"<b>": "own"})
