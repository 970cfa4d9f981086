"""The report of a hyperparameter search: an HTML file in the style of the report of a run."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from two_tower.report import environment
from two_tower.report.charts import Dot, bars, dots
from two_tower.tuning.space import Choices, Dimension, Space, Value, format_value
from two_tower.tuning.trial import TrialResult, best_first

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
        trials: Results of the trials.
        importance: Result of `Study.importance`; can be empty.
        toml: The best settings as TOML text.
    """

    title: str
    metric: str
    space: Space
    trials: Sequence[TrialResult]
    importance: Mapping[str, float]
    toml: str


def write(path: Path, search: Search) -> None:
    """Write the report of a search to an HTML file."""
    names = list(search.space.dimensions)
    page = environment().get_template("tuning.html")
    text = page.render(
        title=search.title,
        metric=search.metric,
        counts=counts(search.trials),
        names=names,
        best=[_row(trial, names) for trial in best_first(search.trials)[:BEST]],
        toml=search.toml,
        history=_history(search),
        importance=bars("Importance of each setting for the best trials", search.importance)
        if search.importance
        else "",
        slices=[_slice(search, name, dimension) for name, dimension in search.space.dimensions.items()],
        unfit=[trial for trial in search.trials if trial.state == "unfit"],
    )
    path.write_text(text, encoding="utf-8")


def counts(trials: Sequence[TrialResult]) -> str:
    """Return a text with the number of trials in each state."""
    states = Counter(trial.state for trial in trials)
    return f"{len(trials)} trials: " + ", ".join(f"{n} {_STATES[state]}" for state, n in states.most_common())


def _row(trial: TrialResult, names: Sequence[str]) -> dict[str, object]:
    cells = [format_value(trial.values[name]) for name in names]
    figures = {"number": trial.number, "value": f"{trial.value:.4f}", "epochs": len(trial.curve)}
    return figures | {"seconds": f"{trial.seconds:.1f}", "cells": cells}


def _reached(trial: TrialResult) -> float | None:
    return trial.value if trial.value is not None else max(trial.curve, default=None)


def _dots(search: Search, place: Mapping[int, float]) -> list[Dot]:
    """A dot for each trial that reported a metric, at its position in `place`, which is by trial number."""
    points = [(trial, reached) for trial in search.trials if (reached := _reached(trial)) is not None]
    return [
        Dot(place[trial.number], reached, _STYLE[trial.state], f"trial {trial.number}: {reached:.4f}")
        for trial, reached in points
        if trial.state in _STYLE
    ]


def _history(search: Search) -> str:
    last = max(1, len(search.trials) - 1)
    place = {trial.number: (trial.number - 1) / last for trial in search.trials}
    line: list[tuple[float, float]] = []
    for trial in search.trials:
        if trial.value is not None:
            line.append((place[trial.number], max(trial.value, line[-1][1] if line else trial.value)))
    ticks = {str(number): (number - 1) / last for number in sorted({1, (last + 2) // 2, last + 1})}
    return dots(f"{search.metric} by trial", ticks, _dots(search, place), "trial", line)


def _slice(search: Search, name: str, dimension: Dimension) -> str:
    place = {trial.number: _place(dimension, trial.values[name]) for trial in search.trials}
    if isinstance(dimension, Choices):
        ticks = {format_value(value): _place(dimension, value) for value in dimension.values}
    else:
        middle = math.sqrt(dimension.low * dimension.high) if dimension.log else (dimension.low + dimension.high) / 2
        ticks = {
            format_value(value): _place(dimension, value) for value in (dimension.low, float(middle), dimension.high)
        }
    return dots(f"{search.metric} by {name}", ticks, _dots(search, place), name)


def _place(dimension: Dimension, value: Value) -> float:
    """The position of a value on its dimension, from 0 to 1."""
    if isinstance(dimension, Choices):
        return (dimension.values.index(value) + 0.5) / len(dimension.values)
    number, low, high = float(value), dimension.low, dimension.high
    if dimension.log:
        number, low, high = math.log(number), math.log(low), math.log(high)
    return min(1.0, max(0.0, (number - low) / (high - low)))
