"""What columns mean: times and names of the tables that `two-tower init` reads."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.inputs import world
from benchmarks.inputs.kinds import Kind, Member, init

LOANS = "--interactions loans.csv"


def timed(change: Callable[[pd.DataFrame], pd.DataFrame], days: float = world.DAYS) -> Callable[[Path], None]:
    """Return a writer of loans.csv whose table was changed."""

    def write(folder: Path) -> None:
        loans = change(world.plain_loans(days)).drop_duplicates(["user_id", "item_id", "timestamp"])
        loans.to_csv(folder / "loans.csv", index=False)

    return write


def _last_alike(loans: pd.DataFrame) -> pd.DataFrame:
    """Give the last seventh one time, as a bulk import does."""
    loans.loc[len(loans) * 6 // 7 :, "timestamp"] = loans["timestamp"].max()
    return loans


def _by(unit: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda loans: loans.assign(timestamp=loans["timestamp"].dt.floor(unit))


def _dates(loans: pd.DataFrame) -> pd.DataFrame:
    return loans.assign(timestamp=loans["timestamp"].dt.strftime("%Y-%m-%d"))


ONE_DAY = Kind(
    "loans within one day",
    "Served without the activity features that have no value, or refused because the log is too short.",
    (
        Member("half an hour", timed(lambda t: t, days=0.05), init(LOANS), refusal="(?i)day"),
        Member("twenty hours", timed(lambda t: t, days=0.8), init(LOANS), refusal="(?i)day"),
        Member(
            "over midnight",
            timed(lambda t: t.assign(timestamp=t["timestamp"] + pd.Timedelta(hours=20)), 0.3),
            init(LOANS),
        ),
    ),
)

SHORT = "(?i)instant|same time|one time|too (few|short)"
ONE_INSTANT = Kind(
    "a test window of one instant",
    "Served, or refused because the window has one instant.",
    (
        Member("a time per day over six days", timed(_by("D"), 6), init(LOANS), refusal=SHORT),
        Member("the last seventh at one time", timed(_last_alike), init(LOANS), refusal=SHORT),
        Member("dates without hours", timed(_dates, 9), init(LOANS), refusal=SHORT),
        Member("whole hours of one day", timed(_by("h"), 2), init(LOANS), refusal=SHORT),
    ),
)

KINDS = (ONE_DAY, ONE_INSTANT)
