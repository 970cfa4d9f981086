"""Files of tables as they are: for `two-tower init`."""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.inputs import world
from benchmarks.inputs.kinds import Kind, Member, init, items_are, lacks, manifest

ALL = "--interactions loans.csv --users readers.csv --items books.csv"
INDEX = r"(?i)index|unnamed|^$|^column"


def both(*checks: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    return lambda folder: [fault for check in checks for fault in check(folder)]


def with_index(folder: Path) -> None:
    """Write all tables with pandas' default, which is an index column without a name."""
    world.plain_loans().to_csv(folder / "loans.csv")
    world.plain_readers().to_csv(folder / "readers.csv")
    world.plain_books().to_csv(folder / "books.csv")


def loans_csv(change: Callable[[pd.DataFrame], str]) -> Callable[[Path], None]:
    """Return a writer of loans.csv with the text that `change` makes of the table."""

    def write(folder: Path) -> None:
        (folder / "loans.csv").write_text(change(world.plain_loans()))

    return write


def _repeated(frame: pd.DataFrame) -> str:
    twice = frame.assign(again=frame["user_id"])
    return str(twice.to_csv(index=False, header=["user_id", "item_id", "timestamp", "stars", "user_id"]))


def _read_back(frame: pd.DataFrame) -> str:
    """The index twice over, as after two rounds of to_csv and read_csv."""
    frame.insert(0, "Unnamed: 0", range(len(frame)))
    return str(frame.to_csv())


def _empty_last(frame: pd.DataFrame) -> str:
    lines = frame.to_csv(index=False).splitlines()
    return "\n".join(f"{line}," for line in lines) + "\n"


LOANS = "--interactions loans.csv"
CATALOGUE = items_are(world.book_ids())

HEADERS = Kind(
    "headers with an empty or a repeated name",
    "The first line is the header; a column without a name is left out, a repeated name gets a suffix or is refused.",
    (
        Member("index columns of pandas", with_index, init(ALL), check=both(lacks(INDEX), CATALOGUE)),
        Member("a name twice", loans_csv(_repeated), init(LOANS), refusal="user_id", check=CATALOGUE),
        Member("an index read back", loans_csv(_read_back), init(LOANS), check=both(lacks(INDEX), CATALOGUE)),
        Member("an empty last name", loans_csv(_empty_last), init(LOANS), check=both(lacks(INDEX), CATALOGUE)),
    ),
)


def stored_index(folder: Path) -> None:
    """Write filtered and shuffled frames, whose index pandas stores in a column."""
    loans = world.plain_loans()
    loans[loans["stars"] > 1].to_parquet(folder / "loans.parquet")
    world.plain_readers().sample(frac=1, random_state=3).to_parquet(folder / "readers.parquet")


def named_index(folder: Path) -> None:
    """Write the users with their id as the index, as after set_index."""
    world.plain_loans().to_parquet(folder / "loans.parquet", index=False)
    world.plain_readers().set_index("user_id").to_parquet(folder / "readers.parquet")


def stored_index_in_csv(folder: Path) -> None:
    """Write a table whose index column was read from parquet by another library."""
    world.plain_loans().to_parquet(folder / "loans.parquet", index=False)
    readers = world.plain_readers()
    readers.assign(__index_level_0__=np.arange(len(readers))[::-1]).to_csv(folder / "readers.parquet.csv", index=False)


PARQUET = "--interactions loans.parquet --users readers.parquet"
STORED_INDEX = Kind(
    "row numbers that pandas stores in parquet",
    "Left out, by the metadata of the schema or by the name; an index with a name is a column.",
    (
        Member("filtered and shuffled frames", stored_index, init(PARQUET), check=lacks(INDEX)),
        Member("users with their id as the index", named_index, init(PARQUET), check=lacks(INDEX)),
        Member("the column in a CSV file", stored_index_in_csv, init(f"{PARQUET}.csv"), check=lacks(INDEX)),
    ),
)


def half(names: tuple[str, ...]) -> Callable[[Path], None]:
    """Return a writer of parquet tables in which these tables have a column of half floats."""

    def write(folder: Path) -> None:
        frames = {"loans": world.plain_loans(), "readers": world.plain_readers(), "books": world.plain_books()}
        for name, frame in frames.items():
            table = pa.Table.from_pandas(frame, preserve_index=False)
            if name in names:
                table = table.append_column("grade", pa.array(np.arange(len(frame)) % 9 / 4, pa.float16()))
            pq.write_table(table, folder / f"{name}.parquet")

    return write


HALF = Kind(
    "half floats",
    "Read as float32.",
    tuple(
        Member(f"in {', '.join(names)}", half(names), init(f"{PARQUET} --items books.parquet"))
        for names in (("books",), ("readers",), ("loans",))
    ),
)


def compressed(suffix: str) -> Member:
    def write(folder: Path) -> None:
        world.plain_loans().to_csv(folder / f"loans.csv.{suffix}", index=False)

    return Member(f"CSV in {suffix}", write, init(f"{LOANS}.{suffix}"), refusal=suffix, check=CATALOGUE)


def zstd(folder: Path) -> None:
    text = world.plain_loans().to_csv(index=False).encode()
    (folder / "loans.csv.zst").write_bytes(pa.compress(text, codec="zstd", asbytes=True))


def partitions(folder: Path) -> None:
    """Write a folder as Spark does: one folder per day, and a marker without content."""
    loans = world.plain_loans()
    loans["day"] = loans["timestamp"].dt.strftime("%Y-%m-%d")
    pq.write_to_dataset(pa.Table.from_pandas(loans, preserve_index=False), folder / "loans", partition_cols=["day"])
    (folder / "loans" / "_SUCCESS").touch()


def parts(folder: Path) -> None:
    """Write a folder of files without partitions."""
    (folder / "loans").mkdir()
    for number, part in enumerate(np.array_split(np.arange(world.EVENTS), 3)):
        file = folder / "loans" / f"part-{number:05}.snappy.parquet"
        world.plain_loans().iloc[part].to_parquet(file, index=False)


def json_lines(folder: Path) -> None:
    rows = world.plain_loans().assign(timestamp=lambda t: t["timestamp"].astype(str)).to_dict("records")
    (folder / "loans.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


FILES = Kind(
    "files that init did not take",
    "Folders of parquet are read; other formats are read, or refused by the name of what they are.",
    (
        Member("a partitioned folder of parquet", partitions, init("--interactions loans"), check=CATALOGUE),
        Member("a folder of parquet files", parts, init("--interactions loans"), check=CATALOGUE),
        *map(compressed, ("gz", "bz2", "zip")),
        Member("CSV in zstd", zstd, init(f"{LOANS}.zst"), refusal="zst", check=CATALOGUE),
        Member("JSON lines", json_lines, init("--interactions loans.jsonl"), refusal="JSON", check=CATALOGUE),
        Member("blank first lines", loans_csv(lambda t: "\n\n" + t.to_csv(index=False)), init(LOANS), check=CATALOGUE),
        Member(
            "a delimiter at the end of each row",
            loans_csv(lambda t: t.to_csv(index=False).replace("\n", ",\n").replace(",\n", "\n", 1)),
            init(LOANS),
            check=CATALOGUE,
        ),
        Member("fields between tabs", loans_csv(lambda t: t.to_csv(index=False, sep="\t")), init(LOANS)),
    ),
)


def several(folder: Path) -> None:
    """Write compressed parts of different formats in one folder."""
    (folder / "loans").mkdir()
    first, second, third = (world.plain_loans().iloc[part] for part in np.array_split(np.arange(world.EVENTS), 3))
    first.to_csv(folder / "loans" / "part-0.csv.gz", index=False)
    second.to_csv(folder / "loans" / "part-1.csv.bz2", index=False)
    text = third.assign(timestamp=lambda t: t["timestamp"].astype(str))
    text.to_json(folder / "loans" / "part-2.json", orient="records")


def graph(folder: Path) -> None:
    """Write fields between spaces below comments, the last of which is the header."""
    loans = world.plain_loans()
    loans["timestamp"] = loans["timestamp"].astype("int64") // 10**9
    text = loans.to_csv(index=False, sep=" ")
    (folder / "loans.txt").write_text("# loans of a library\n# " + text)


MORE_FILES = Kind(
    "several files, and text of graphs",
    "A folder or a pattern is one table, whatever the formats of its files; comments are skipped.",
    (
        Member("a folder of several formats", several, init("--interactions loans"), check=CATALOGUE),
        Member("a pattern", several, init("--interactions loans/part-*"), check=CATALOGUE),
        Member("comments and spaces", graph, init("--interactions loans.txt"), check=CATALOGUE),
    ),
)


def dtypes(**expected: str) -> Callable[[Path], list[str]]:
    """Return a check of the dtypes of features by name."""

    def check(folder: Path) -> list[str]:
        contract = manifest(folder)["contract"]
        found = {f["name"]: f["dtype"] for tower in ("user", "item") for f in contract[tower]}
        wrong = {name: found.get(name) for name, dtype in expected.items() if found.get(name) != dtype}
        return [f"{name!r} is {dtype}" for name, dtype in wrong.items()]

    return check


def typed(folder: Path) -> None:
    """Write parquet tables with columns of less common types."""
    world.plain_loans().to_parquet(folder / "loans.parquet", index=False)
    readers, books = world.plain_readers(), world.plain_books()
    rng = np.random.default_rng(5)
    cents = [Decimal(int(n)) / 100 for n in rng.integers(1, 999, len(readers))]
    home = [None if n % 9 == 0 else {"zip": {"area": f"z{n % 5}"}} for n in range(len(readers))]
    table = pa.Table.from_pandas(readers, preserve_index=False)
    table = table.append_column("dues", pa.array(cents, pa.decimal128(9, 2))).append_column("home", pa.array(home))
    pq.write_table(table, folder / "readers.parquet")
    topics = [None if n % 7 == 0 else [f"t{n % 3}", None, f"t{n % 4}"] for n in range(len(books))]
    vectors = [None if n % 8 == 0 else rng.random(4) for n in range(len(books))]
    table = pa.Table.from_pandas(books, preserve_index=False)
    table = table.append_column("topics", pa.array(topics)).append_column(
        "shelf", pa.array(list("ab") * (len(books) // 2)).dictionary_encode()
    )
    pq.write_table(table.append_column("vector", pa.array(vectors, pa.list_(pa.float64()))), folder / "books.parquet")


def as_text(folder: Path) -> None:
    """Write vectors, lists, decimal commas and missing values as text."""
    loans = world.plain_loans()
    loans.to_csv(folder / "loans.csv", index=False)
    world.plain_readers().assign(dues=lambda t: [f"{n % 13},{n % 90:02}" if n % 6 else "NA" for n in t.index]).to_csv(
        folder / "readers.csv", index=False, sep=";"
    )
    rng = np.random.default_rng(5)
    books = world.plain_books()
    books["vector"] = [str(rng.random(3).round(3).tolist()) if n % 8 else "null" for n in books.index]
    books["topics"] = [str([f"t{n % 3}", f"t{n % 4}"]) for n in books.index]
    books["parents"] = [f"n{n % 5}{n % 3} n{n % 4}9" if n % 3 else f"n{n % 5}8" for n in books.index]
    books.to_csv(folder / "books.csv", index=False)


def long_ids(folder: Path) -> None:
    """Write ids beyond int64 as unsigned integers, and readers without an id as text of a missing value."""
    loans = world.plain_loans()
    loans["item_id"] = loans["item_id"].str[1:].astype("uint64") + np.uint64(2**63)
    loans["user_id"] = loans["user_id"].where(loans["stars"] > 1, None).astype(str)
    loans.to_parquet(folder / "loans.parquet", index=False)


TYPES = Kind(
    "columns of other types, and lists and numbers as text",
    "Read as what they are: lists as bags, vectors as vectors, decimals and decimal commas as numbers.",
    (
        Member(
            "categories, decimals, structs, lists with nulls",
            typed,
            init(f"{PARQUET} --items books.parquet"),
            check=dtypes(
                dues="Float32",
                home_zip_area="String",
                topics="Array(String)",
                shelf="String",
                vector="Array(Float32)",
            ),
        ),
        Member(
            "vectors, lists and decimal commas as text",
            as_text,
            init(ALL),
            check=dtypes(dues="Float32", vector="Array(Float32)", topics="Array(String)", parents="Array(String)"),
        ),
        Member(
            "ids beyond int64",
            long_ids,
            init("--interactions loans.parquet"),
            check=items_are([str(2**63 + int(book[1:])) for book in world.book_ids()]),
        ),
    ),
)

KINDS = (HEADERS, STORED_INDEX, HALF, FILES, MORE_FILES, TYPES)
