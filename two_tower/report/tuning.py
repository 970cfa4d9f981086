"""The page of a search for settings: one HTML file like the report of a run, in its style."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from two_tower.report import environment
from two_tower.report.charts import Dot, bars, dots
from two_tower.tuning.space import Choices, Dimension, Space, Value, shown
from two_tower.tuning.tried import Tried, ranked

BEST = 10  # rows of the table
_STATES = {"finished": "finished", "pruned": "given up early", "unfit": "could not be trained"}
_STYLE = {"finished": "own", "pruned": "oracle hollow"}


@dataclass(frozen=True, kw_only=True)
class Search:
    """What the page tells. importance: of `Study.importance`, may be empty. toml: the best settings, as text."""

    title: str
    metric: str
    space: Space
    tried: Sequence[Tried]
    importance: Mapping[str, float]
    toml: str


def write(path: Path, search: Search) -> None:
    names = list(search.space.dimensions)
    page = environment().get_template("tuning.html")
    text = page.render(
        title=search.title,
        metric=search.metric,
        counts=counts(search.tried),
        names=names,
        best=[_row(one, names) for one in ranked(search.tried)[:BEST]],
        toml=search.toml,
        history=_history(search),
        importance=bars("What mattered: shares in setting the best trials apart", search.importance)
        if search.importance
        else "",
        slices=[_slice(search, name, dimension) for name, dimension in search.space.dimensions.items()],
        unfit=[one for one in search.tried if one.state == "unfit"],
    )
    path.write_text(text, encoding="utf-8")


def counts(tried: Sequence[Tried]) -> str:
    """How many trials there were, in words."""
    found = Counter(one.state for one in tried)
    return f"{len(tried)} trials: " + ", ".join(f"{n} {_STATES[state]}" for state, n in found.most_common())


def _row(one: Tried, names: Sequence[str]) -> dict[str, object]:
    cells = [shown(one.values[name]) for name in names]
    figures = {"number": one.number, "value": f"{one.value:.4f}", "epochs": len(one.curve)}
    return figures | {"seconds": f"{one.seconds:.1f}", "cells": cells}


def _reached(one: Tried) -> float | None:
    return one.value if one.value is not None else max(one.curve, default=None)


def _dots(search: Search, place: Mapping[int, float]) -> list[Dot]:
    """A dot for each trial that reached anything, where `place` has it by the trial's number."""
    found = [(one, reached) for one in search.tried if (reached := _reached(one)) is not None]
    return [
        Dot(place[one.number], reached, _STYLE[one.state], f"trial {one.number}: {reached:.4f}")
        for one, reached in found
        if one.state in _STYLE
    ]


def _history(search: Search) -> str:
    last = max(1, len(search.tried) - 1)
    place = {one.number: (one.number - 1) / last for one in search.tried}
    line: list[tuple[float, float]] = []
    for one in search.tried:
        if one.value is not None:
            line.append((place[one.number], max(one.value, line[-1][1] if line else one.value)))
    ticks = {str(number): (number - 1) / last for number in sorted({1, (last + 2) // 2, last + 1})}
    return dots(f"{search.metric} by trial", ticks, _dots(search, place), "trial", line)


def _slice(search: Search, name: str, dimension: Dimension) -> str:
    place = {one.number: _place(dimension, one.values[name]) for one in search.tried}
    if isinstance(dimension, Choices):
        ticks = {shown(value): _place(dimension, value) for value in dimension.values}
    else:
        middle = math.sqrt(dimension.low * dimension.high) if dimension.log else (dimension.low + dimension.high) / 2
        ticks = {shown(value): _place(dimension, value) for value in (dimension.low, float(middle), dimension.high)}
    return dots(f"{search.metric} by {name}", ticks, _dots(search, place), name)


def _place(dimension: Dimension, value: Value) -> float:
    """The place of a value on its dimension, from 0 to 1."""
    if isinstance(dimension, Choices):
        return (dimension.values.index(value) + 0.5) / len(dimension.values)
    number, low, high = float(value), dimension.low, dimension.high
    if dimension.log:
        number, low, high = math.log(number), math.log(low), math.log(high)
    return min(1.0, max(0.0, (number - low) / (high - low)))
