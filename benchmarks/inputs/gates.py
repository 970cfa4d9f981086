"""Clean data that a gate must not hold, such as those of the next day."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.inputs import world
from benchmarks.inputs.kinds import RUN, Kind, Member, init

EVENTS, DAYS = 4000, 50  # 80 loans per day


def until(day: int) -> Callable[[Path], None]:
    """Return a step that writes the loans of the first days."""

    def write(folder: Path) -> None:
        loans = world.plain_loans(DAYS, EVENTS)
        loans[loans["timestamp"] < pd.Timestamp(world.START) + pd.Timedelta(days=day)].to_csv(
            folder / "loans.csv", index=False
        )

    return write


def dated_readers(folder: Path) -> None:
    """Write readers who joined within one day, before the first loan."""
    until(48)(folder)
    joined = pd.Timestamp(world.START) - pd.to_timedelta(range(world.READERS), unit="min")
    world.plain_readers().assign(joined=joined).to_csv(folder / "readers.csv", index=False)


LOANS = "--interactions loans.csv"
NEXT_DAY = Kind(
    "the next day's data",
    "Not held: ages that moved with the clock, and counts that grew with it, are no drift.",
    (
        Member("one more day", until(48), (*init(LOANS), until(49), "init repo", RUN)),
        Member(
            "readers who joined within a day",
            dated_readers,
            (*init(f"{LOANS} --users readers.csv"), until(49), "init repo", RUN),
        ),
        Member("one more week", until(43), (*init(LOANS), until(50), "init repo", RUN)),
    ),
)

KINDS = (NEXT_DAY,)
