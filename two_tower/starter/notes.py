"""Notes for the user about the data of a new feature repository."""

import re
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.datasets.tables import Tables
from two_tower.starter import times, values
from two_tower.starter.event_time import Time
from two_tower.starter.plan import Plan
from two_tower.starter.source import Source

_AMOUNT = r"quantity|qty|amount|price|count"
_NO_TIMES = (
    "the interactions have no times, so the split is a random holdout of each user's interactions. It measures less "
    "than a split by time: training may use interactions that came after the held-out ones. Set --timestamp COLUMN if "
    "a column has the time.",
    "without times there are no activity features. The user tower reads a sample of the user's other items.",
    "without times no gate can find a column that was computed from held-out interactions, such as an average rating. "
    "Leave such columns out with --ignore.",
)


def plan_notes(events: Source, time: Time | None) -> Iterator[str]:
    """Yield notes for the user about ambiguous or unusual data.

    Args:
        events: The interactions.
        time: The time column of the interactions. None: there is none.

    Yields:
        One sentence each: no times, an ambiguous order of day and month.
    """
    yield from _time_notes(events, time) if time else _NO_TIMES


def data_notes(plan: Plan, read: Mapping[str, pa.Table], tables: Tables) -> Iterator[str]:
    """Yield notes about the data that `build` made.

    Args:
        plan: The plan.
        read: The tables of the files, by `user`, `item` and `event`.
        tables: The tables of the repository.

    Yields:
        One sentence each: invalid values, and quantities or prices of 0 or less.
    """
    for name, file in (("event", plan.interactions), ("user", plan.users), ("item", plan.items)):
        for column in file.columns if file else ():
            if column.role != "unused" and column.kind.split()[0] in ("integer", "number", "flag", "time"):
                parsed = values.read_as(read[name][column.source], column.source, column.kind)
                if parsed.lost:
                    yield f"{column.source}: {parsed.lost:,} values, such as {parsed.example!r}, are invalid: missing."
    for column in plan.facts:
        if column.kind.split()[0] not in ("integer", "number") or not re.search(_AMOUNT, column.source, re.I):
            continue
        below = pc.sum(pc.less_equal(tables.interactions[column.field], 0)).as_py()
        if below:
            condition = f'"{column.source}" > 0'
            where = f"({plan.where}) and {condition}" if plan.where else condition
            yield (
                f"{column.source}: 0 or negative in {below:,} of the kept interactions (returns?), which are positives "
                f"too. Drop them with --where '{where}'."
            )


def _time_notes(events: Source, time: Time) -> Iterator[str]:
    form = time.kind.partition(" ")[2]
    other = times.swapped(form)
    distinct = events.table[time.column].cast(pa.string()).unique().drop_null()
    if other != form and times.readable(distinct, other):
        yield (
            f"{time.column}: the order of day and month is ambiguous; read as {form}. Change it with "
            "--timestamp-format."
        )
