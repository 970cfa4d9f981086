"""What columns mean: times and names of the tables that `two-tower init` reads."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.inputs import world
from benchmarks.inputs.kinds import RUN, Kind, Member, init, manifest

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


def untimed(change: Callable[[pd.DataFrame], pd.DataFrame] = lambda loans: loans) -> Callable[[Path], None]:
    """Return a writer of all tables; the loans have no times and were changed."""

    def write(folder: Path) -> None:
        change(world.plain_loans().drop(columns="timestamp")).to_csv(folder / "loans.csv", index=False)
        world.plain_readers().to_csv(folder / "readers.csv", index=False)
        world.plain_books().to_csv(folder / "books.csv", index=False)

    return write


def _integers(loans: pd.DataFrame) -> pd.DataFrame:
    return loans.assign(**{name: loans[name].str[1:].astype(int) for name in ("user_id", "item_id")})


def _more_pairs(folder: Path) -> None:
    with (folder / "loans.csv").open("a") as file:
        file.writelines(f"new{n},{book}\n" for n in range(5) for book in world.book_ids()[n : n + 8])


def _tagged(folder: Path) -> None:
    at = pd.Timestamp(world.START) + pd.Timedelta(days=world.DAYS)
    tag = "    online=False,\n    tags={'split': 'per_user'},\n"
    loans = world.tables()["loans"].assign(at=at)
    world.repository(folder, world.edited(world.DEFINITIONS, ("    online=False,\n", tag)), loans=loans)


def split_per_user(folder: Path) -> list[str]:
    """Return a fault unless the release says that its split is a holdout per user."""
    split = manifest(folder)["bounds"].get("split")
    return [] if split == "per_user" else [f"the split is {split!r}"]


WITHOUT_TIMES = Kind(
    "interactions without times",
    "Served; the split is a holdout per user, and the release says so.",
    (
        Member("pairs", untimed(lambda t: t[["user_id", "item_id"]]), init(LOANS), check=split_per_user),
        Member(
            "ratings and tables",
            untimed(),
            init(f"{LOANS} --users readers.csv --items books.csv"),
            check=split_per_user,
        ),
        Member("integers", untimed(_integers), init(LOANS), check=split_per_user),
        Member("times that are ignored", timed(lambda t: t), init(f"{LOANS} --timestamp none"), check=split_per_user),
        Member(
            "more pairs later",
            untimed(lambda t: t[["user_id", "item_id"]]),
            (*init(LOANS), _more_pairs, "init repo", RUN),
            check=split_per_user,
        ),
        Member("a repository with the tag", _tagged, check=split_per_user),
    ),
)

KINDS = (ONE_DAY, ONE_INSTANT, WITHOUT_TIMES)
