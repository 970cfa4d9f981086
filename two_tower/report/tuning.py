"""The report of a hyperparameter search: an HTML file in the style of the report of a run."""

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
_STATES = {"finished": "finished", "pruned": "pruned", "unfit": "could not be trained"}
_STYLE = {"finished": "own", "pruned": "oracle hollow"}


@dataclass(frozen=True, kw_only=True)
class Search:
    """Content of the report.

    Attributes:
        title: Title of the page.
        metric: Name of the objective.
        space: Search space.
        tried: Results of the trials.
        importance: Result of `Study.importance`; can be empty.
        toml: The best settings as TOML text.
    """

    title: str
    metric: str
    space: Space
    tried: Sequence[Tried]
    importance: Mapping[str, float]
    toml: str


def write(path: Path, search: Search) -> None:
    """Write the report of a search to an HTML file."""
    names = list(search.space.dimensions)
    page = environment().get_template("tuning.html")
    text = page.render(
        title=search.title,
        metric=search.metric,
        counts=counts(search.tried),
        names=names,
        best=[_row(trial, names) for trial in ranked(search.tried)[:BEST]],
        toml=search.toml,
        history=_history(search),
        importance=bars("Importance of each setting for the best trials", search.importance)
        if search.importance
        else "",
        slices=[_slice(search, name, dimension) for name, dimension in search.space.dimensions.items()],
        unfit=[trial for trial in search.tried if trial.state == "unfit"],
    )
    path.write_text(text, encoding="utf-8")


def counts(tried: Sequence[Tried]) -> str:
    """Return a text with the number of trials in each state."""
    states = Counter(trial.state for trial in tried)
    return f"{len(tried)} trials: " + ", ".join(f"{n} {_STATES[state]}" for state, n in states.most_common())


def _row(trial: Tried, names: Sequence[str]) -> dict[str, object]:
    cells = [shown(trial.values[name]) for name in names]
    figures = {"number": trial.number, "value": f"{trial.value:.4f}", "epochs": len(trial.curve)}
    return figures | {"seconds": f"{trial.seconds:.1f}", "cells": cells}


def _reached(trial: Tried) -> float | None:
    return trial.value if trial.value is not None else max(trial.curve, default=None)


def _dots(search: Search, place: Mapping[int, float]) -> list[Dot]:
    """A dot for each trial that reported a metric, at its position in `place`, which is by trial number."""
    points = [(trial, reached) for trial in search.tried if (reached := _reached(trial)) is not None]
    return [
        Dot(place[trial.number], reached, _STYLE[trial.state], f"trial {trial.number}: {reached:.4f}")
        for trial, reached in points
        if trial.state in _STYLE
    ]


def _history(search: Search) -> str:
    last = max(1, len(search.tried) - 1)
    place = {trial.number: (trial.number - 1) / last for trial in search.tried}
    line: list[tuple[float, float]] = []
    for trial in search.tried:
        if trial.value is not None:
            line.append((place[trial.number], max(trial.value, line[-1][1] if line else trial.value)))
    ticks = {str(number): (number - 1) / last for number in sorted({1, (last + 2) // 2, last + 1})}
    return dots(f"{search.metric} by trial", ticks, _dots(search, place), "trial", line)


def _slice(search: Search, name: str, dimension: Dimension) -> str:
    place = {trial.number: _place(dimension, trial.values[name]) for trial in search.tried}
    if isinstance(dimension, Choices):
        ticks = {shown(value): _place(dimension, value) for value in dimension.values}
    else:
        middle = math.sqrt(dimension.low * dimension.high) if dimension.log else (dimension.low + dimension.high) / 2
        ticks = {shown(value): _place(dimension, value) for value in (dimension.low, float(middle), dimension.high)}
    return dots(f"{search.metric} by {name}", ticks, _dots(search, place), name)


def _place(dimension: Dimension, value: Value) -> float:
    """The position of a value on its dimension, from 0 to 1."""
    if isinstance(dimension, Choices):
        return (dimension.values.index(value) + 0.5) / len(dimension.values)
    number, low, high = float(value), dimension.low, dimension.high
    if dimension.log:
        number, low, high = math.log(number), math.log(low), math.log(high)
    return min(1.0, max(0.0, (number - low) / (high - low)))
