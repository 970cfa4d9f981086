"""A made-up library: readers who borrow books, mostly of their favourite genre. Members change it in one place."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2024, 3, 1, tzinfo=UTC)
READERS, BOOKS, GENRES, EVENTS, DAYS = 60, 40, 4, 1200, 40
STAMP = pa.timestamp("us", tz="UTC")

CONFIG = """project: library
provider: local
registry: data/registry.db
offline_store: {type: duckdb}
online_store: {type: sqlite, path: data/online.db}
entity_key_serialization_version: 3
"""

DEFINITIONS = """from datetime import timedelta

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64, String, UnixTimestamp


def table(name, **settings):
    return FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="at", **settings)


reader = Entity(name="user", join_keys=["reader"], value_type=ValueType.STRING)
book = Entity(name="item", join_keys=["book"], value_type=ValueType.STRING)

readers = FeatureView(
    name="readers",
    entities=[reader],
    source=table("readers"),
    schema=[Field(name="city", dtype=String), Field(name="age", dtype=Int64)],
)
borrowed = FeatureView(
    name="borrowed",
    entities=[reader],
    source=table("borrowed"),
    schema=[Field(name="recent", dtype=Array(String), tags={"encoding": "history"})],
)
books = FeatureView(
    name="books",
    entities=[book],
    source=table("books"),
    schema=[Field(name="title", dtype=String), Field(name="genre", dtype=String), Field(name="pages", dtype=Float32)],
)
loans = FeatureView(
    name="interactions",
    entities=[reader, book],
    source=table("loans"),
    online=False,
    schema=[Field(name="weight", dtype=Float32)],
)
user_tower = FeatureService(name="user_tower", features=[readers, borrowed])
item_tower = FeatureService(name="item_tower", features=[books])
"""


def reader_ids() -> list[str]:
    return [f"r{n:03}" for n in range(READERS)]


def book_ids() -> list[str]:
    return [f"b{n:03}" for n in range(BOOKS)]


def loans(days: float = DAYS, events: int = EVENTS, seed: int = 0) -> pd.DataFrame:
    """List the loans in order of time: reader, book, at, stars. Five in six are of the reader's favourite genre."""
    rng = np.random.default_rng(seed)
    reader = rng.integers(0, READERS, events)
    favourite = rng.integers(0, BOOKS // GENRES, events) * GENRES + reader % GENRES
    book = np.where(rng.random(events) < 5 / 6, favourite, rng.integers(0, BOOKS, events))
    seconds = np.sort(rng.choice(int(days * 86_400), events, replace=False))
    return pd.DataFrame(
        {
            "reader": [f"r{n:03}" for n in reader],
            "book": [f"b{n:03}" for n in book],
            "at": pd.Timestamp(START) + pd.to_timedelta(seconds, unit="s"),
            "stars": rng.integers(1, 6, events),
        }
    )


def readers() -> pd.DataFrame:
    """One row per reader: city and age."""
    rng = np.random.default_rng(1)
    cities = [f"city{n % GENRES}" for n in range(READERS)]
    return pd.DataFrame({"reader": reader_ids(), "city": cities, "age": rng.integers(18, 80, READERS)})


def books() -> pd.DataFrame:
    """One row per book: title, genre and pages."""
    rng = np.random.default_rng(2)
    genres = [f"genre{n % GENRES}" for n in range(BOOKS)]
    titles = [f"Volume {n}" for n in range(BOOKS)]
    return pd.DataFrame({"book": book_ids(), "title": titles, "genre": genres, "pages": rng.integers(80, 900, BOOKS)})


def borrowed(events: pd.DataFrame) -> pd.DataFrame:
    """List the last ten books of a reader after each loan, stamped a microsecond after it."""
    rows = []
    for reader, of_reader in events.groupby("reader", sort=True):
        history: list[str] = []
        for at, book in zip(of_reader["at"], of_reader["book"], strict=True):
            history.append(book)
            rows.append((reader, at + pd.Timedelta(microseconds=1), history[-10:]))
    return pd.DataFrame(rows, columns=["reader", "at", "recent"])


def tables() -> dict[str, pd.DataFrame]:
    """The tables of the feature repository, by name."""
    events = loans()
    before = pd.Timestamp(START) - pd.Timedelta(days=1)
    return {
        "readers": readers().assign(at=before),
        "books": books().assign(at=before),
        "borrowed": borrowed(events),
        "loans": events.drop(columns="stars").assign(weight=1.0),
    }


def write_table(frame: pd.DataFrame, file: Path) -> None:
    """Write a parquet file with times in microseconds, which all offline stores can compare."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for place, column in enumerate(table.schema):
        if pa.types.is_timestamp(column.type):
            table = table.set_column(place, column.name, table[column.name].cast(STAMP))
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def repository(folder: Path, definitions: str = DEFINITIONS, config: str = CONFIG, **replaced: pd.DataFrame) -> None:
    """Write the feature repository to `folder / "repo"`, with some tables replaced or added."""
    repo = folder / "repo"
    repo.mkdir()
    (repo / "definitions.py").write_text(definitions)
    (repo / "feature_store.yaml").write_text(config)
    for name, frame in {**tables(), **replaced}.items():
        write_table(frame, repo / "data" / f"{name}.parquet")


def edited(text: str, *pairs: tuple[str, str]) -> str:
    """Return a text with parts replaced; each part must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def plain_loans(days: float = DAYS, events: int = EVENTS) -> pd.DataFrame:
    """The loans as a table for `two-tower init`: user_id, item_id, timestamp, stars."""
    return loans(days, events).rename(columns={"reader": "user_id", "book": "item_id", "at": "timestamp"})


def plain_readers() -> pd.DataFrame:
    return readers().rename(columns={"reader": "user_id"})


def plain_books() -> pd.DataFrame:
    return books().rename(columns={"book": "item_id"})
