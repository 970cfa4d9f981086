"""Where stores lie, how old their rows are, and rows that change after they were materialised."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
from feast import FeatureStore

from benchmarks.harness import quiet
from benchmarks.inputs import world
from benchmarks.inputs.kinds import RUN, Kind, Member, Step, init

PLAIN_STORE = "online_store: {type: sqlite, path: data/online.db}\n"
PLAIN_REGISTRY = "registry: data/registry.db\n"


def places(name: str, *pairs: tuple[str, str], **environment: str) -> Member:
    def write(folder: Path) -> None:
        world.repository(folder, config=world.edited(world.CONFIG, *pairs))

    return Member(name, write, environment=environment, check=_releases_hold_no_store)


def _releases_hold_no_store(folder: Path) -> list[str]:
    created = [*(folder / "out" / "releases").rglob("*.db")]
    return [f"{file.name} was created in a release" for file in created]


def with_ttl(name: str, *pairs: tuple[str, str]) -> Member:
    definitions = world.edited(world.DEFINITIONS, *pairs)
    return Member(name, lambda folder: world.repository(folder, definitions), refusal="ttl")


PLACES = Kind(
    "places of stores",
    "The service reads the store that materialise wrote, and nothing is created in a release.",
    (
        places("sqlite without a path", (PLAIN_STORE, "online_store: {type: sqlite}\n")),
        places("no online store given", (PLAIN_STORE, "")),
        places(
            "SQLAlchemy URL relative to the repository",
            (PLAIN_REGISTRY, "registry: {registry_type: sql, path: 'sqlite:///data/registry.db'}\n"),
        ),
        places(
            "online store in an environment variable",
            ("path: data/online.db", 'path: "${LIBRARY_ONLINE}"'),
            LIBRARY_ONLINE="data/online.db",
        ),
        places(
            "registry in an environment variable",
            (PLAIN_REGISTRY, 'registry: "${LIBRARY_REGISTRY}"\n'),
            LIBRARY_REGISTRY="data/registry.db",
        ),
        places(
            "variable for the folder of the store",
            ("path: data/online.db", 'path: "${LIBRARY_DATA}/online.db"'),
            LIBRARY_DATA="data",
        ),
        places("store beside the repository", ("path: data/online.db", "path: ../online.db")),
        places("registry as a mapping", (PLAIN_REGISTRY, "registry: {registry_type: file, path: data/registry.db}\n")),
    ),
)

TTL = Kind(
    "ttl",
    "A row that is older than the ttl of its view is missing in the service as in training, or ttl is refused.",
    (
        with_ttl("history for six hours", ('name="borrowed",', 'name="borrowed",\n    ttl=timedelta(hours=6),')),
        with_ttl("user columns for ten days", ('name="readers",', 'name="readers",\n    ttl=timedelta(days=10),')),
        with_ttl(
            "two ttl in one service",
            ('name="readers",', 'name="readers",\n    ttl=timedelta(days=365),'),
            ('name="borrowed",', 'name="borrowed",\n    ttl=timedelta(days=2),'),
        ),
    ),
)


def edit(table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Step:
    """Return a step that rewrites a table of the repository."""

    def step(folder: Path) -> None:
        file = folder / "repo" / "data" / f"{table}.parquet"
        world.write_table(change(pq.read_table(file).to_pandas()), file)

    return step


def first_part(folder: Path, share: float = 0.8) -> None:
    """Write the repository without the newest loans, which `rest` adds."""
    tables = world.tables()
    end = tables["loans"]["at"].quantile(share)
    world.repository(folder, **{name: tables[name][tables[name]["at"] <= end] for name in ("loans", "borrowed")})


def rest(folder: Path) -> None:
    for name in ("loans", "borrowed"):
        world.write_table(world.tables()[name], folder / "repo" / "data" / f"{name}.parquet")


def materialise_into_the_future(folder: Path) -> None:
    """Materialise with an end in the future, as an operator of the store may do."""
    with contextlib.chdir(folder / "repo"), quiet():
        FeatureStore(".").materialize_incremental(end_date=datetime(2031, 1, 1, tzinfo=UTC))


def late_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Append a row for every reader that is stamped after the reader's last row and before the last loan."""
    newest = frame.groupby("reader", as_index=False).last()
    newest["at"] += timedelta(minutes=1)
    newest["recent"] = [[*books[:-1], "b000"] for books in newest["recent"]]
    return pd.concat([frame, newest[newest["at"] < frame["at"].max()]])


def corrected(frame: pd.DataFrame) -> pd.DataFrame:
    """Append a later writing of each row, with the same event timestamp."""
    again = frame.assign(age=frame["age"] + 1, written=frame["written"] + timedelta(days=1))
    return pd.concat([frame, again])


def write_created(folder: Path) -> None:
    people = world.tables()["readers"]
    definitions = world.edited(
        world.DEFINITIONS, ('table("readers")', 'table("readers", created_timestamp_column="written")')
    )
    world.repository(folder, definitions, readers=people.assign(written=people["at"]))


def plain_tables(folder: Path) -> None:
    world.plain_loans().to_csv(folder / "loans.csv", index=False)
    world.plain_readers().to_csv(folder / "readers.csv", index=False)


def move_readers(folder: Path) -> None:
    """Move three readers to cities of others, and make everybody a year older."""
    people = world.plain_readers().assign(age=lambda t: t["age"] + 1)
    people.loc[[3, 14, 25], "city"] = people["city"].iloc[[4, 15, 26]].to_numpy()
    people.to_csv(folder / "readers.csv", index=False)


def rename_cities(folder: Path) -> None:
    world.plain_readers().assign(city=lambda t: "new " + t["city"]).to_csv(folder / "readers.csv", index=False)


def new_readers(folder: Path) -> None:
    """Add readers in the middle of the table, and loans of theirs at the end."""
    people, events = world.plain_readers(), world.plain_loans()
    new = [f"r{n:03}x" for n in (7, 21, 44)]
    joined = pd.concat([people, pd.DataFrame({"user_id": new, "city": "city9", "age": 40})])
    joined.sort_values("user_id").to_csv(folder / "readers.csv", index=False)
    times = events["timestamp"].max() + pd.to_timedelta(range(1, 31), unit="h")
    more = pd.DataFrame({"user_id": new * 10, "item_id": world.book_ids()[:30], "timestamp": times, "stars": 4})
    pd.concat([events, more]).to_csv(folder / "loans.csv", index=False)


TABLES = "--interactions loans.csv --users readers.csv"

CHANGED = Kind(
    "rows that change after materialisation",
    "The store holds what training reads: corrected, late and new rows too.",
    (
        Member(
            "a table rewritten in place",
            world.repository,
            (RUN, edit("readers", lambda t: t.assign(age=t["age"] + 1)), RUN),
        ),
        Member("init again with corrected users", plain_tables, (*init(TABLES), move_readers, "init repo", RUN)),
        Member(
            "init again with another city for all users",
            plain_tables,
            (*init(TABLES), rename_cities, "init repo", RUN),
            served=False,
            held=r"user\.city \(psi\)",
        ),
        Member("init again with new users", plain_tables, (*init(TABLES), new_readers, "init repo", RUN)),
        Member("materialised into the future", first_part, (RUN, materialise_into_the_future, rest, RUN)),
        Member("late rows", world.repository, (RUN, edit("borrowed", late_rows), RUN)),
        Member("a later writing of the same row", write_created, (RUN, edit("readers", corrected), RUN)),
        Member("rows that are gone", world.repository, (RUN, edit("readers", lambda t: t[t["reader"] > "r001"]), RUN)),
        Member(
            "rows of many users are gone",
            world.repository,
            (RUN, edit("readers", lambda t: t[t["reader"] > "r010"]), RUN),
            served=False,
            held=r"user\.city \(null share\)",
        ),
    ),
)

KINDS = (PLACES, TTL, CHANGED)
