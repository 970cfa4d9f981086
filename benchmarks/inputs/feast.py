"""Definitions and configurations of feature repositories."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from benchmarks.inputs import world
from benchmarks.inputs.kinds import Kind, Member, refused

READERS = 'readers = FeatureView(\n    name="readers",'
BORROWED = 'borrowed = FeatureView(\n    name="borrowed",'
PAGES = 'Field(name="pages", dtype=Float32)'


def defined(*pairs: tuple[str, str], **replaced: pd.DataFrame) -> Callable[[Path], None]:
    """Return a writer of the repository with edited definitions."""
    definitions = world.edited(world.DEFINITIONS, *pairs)
    return lambda folder: world.repository(folder, definitions, **replaced)


def configured(*pairs: tuple[str, str]) -> Callable[[Path], None]:
    """Return a writer of the repository with an edited feature_store.yaml."""
    config = world.edited(world.CONFIG, *pairs)
    return lambda folder: world.repository(folder, config=config)


SEEN = """seen = FeatureView(
    name="seen",
    entities=[reader],
    source=table("seen"),
    online=False,
    schema=[Field(name="recent", dtype=Array(String))],
)
user_seen = FeatureService(name="user_seen", features=[seen])
"""

BATCH_VIEW = 'BatchFeatureView(\n    name="readers",\n    mode="python",\n    udf=lambda x: x,\n    udf_string="x",'

NOT_ONLINE = Kind(
    "a user view that is not online",
    "Refused before training with the name of the view and `online=True`. Views of items may stay offline.",
    (
        refused("a history", defined((BORROWED, BORROWED + "\n    online=False,")), "(?s)borrowed.*online=True"),
        refused(
            "a BatchFeatureView, which is not online by default",
            defined(
                ("FeatureView, Field,", "FeatureView, BatchFeatureView, Field,"), (READERS, f"readers = {BATCH_VIEW}")
            ),
            "(?s)readers.*online=True",
        ),
        refused(
            "the view of seen items",
            defined(("item_tower =", SEEN + "item_tower ="), seen=world.tables()["borrowed"]),
            "(?s)seen.*online=True",
        ),
        Member("a view of items", defined(('name="books",', 'name="books",\n    online=False,'))),
    ),
)


def book_feature(name: str, dtype: str = "Int64") -> Member:
    """Return a member with one more feature of the books, which may be served or refused by its name."""
    books = world.tables()["books"]
    values = [n % 6 for n in range(len(books))]
    column = pd.Timestamp(world.START) - pd.to_timedelta(values, unit="D") if dtype == "UnixTimestamp" else values
    write = defined((PAGES, f'{PAGES}, Field(name="{name}", dtype={dtype})'), books=books.assign(**{name: column}))
    return Member(f"feature {name} of the items", write, refusal=rf"\b{name}\b")


def written_is_a_feature() -> Callable[[Path], None]:
    books = world.tables()["books"]
    written = books["at"] - pd.to_timedelta(range(len(books)), unit="h")
    return defined(
        ('table("books")', 'table("books", created_timestamp_column="written")'),
        (PAGES, f'{PAGES}, Field(name="written", dtype=UnixTimestamp)'),
        books=books.assign(written=written),
    )


def user_feature(name: str) -> Member:
    readers = world.tables()["readers"]
    pairs = ('Field(name="age", dtype=Int64)', f'Field(name="age", dtype=Int64), Field(name="{name}", dtype=Int64)')
    write = defined(pairs, readers=readers.assign(**{name: range(len(readers))}))
    return Member(f"feature {name} of the users", write, refusal=rf"\b{name}\b")


NAMES = Kind(
    "features named like columns of the product",
    "They work, or they are refused before training by their name.",
    (
        Member(
            "the time of the source as a feature",
            defined((PAGES, f'{PAGES}, Field(name="at", dtype=UnixTimestamp)')),
            refusal=r"\bat\b",
        ),
        Member("the created time of the source as a feature", written_is_a_feature(), refusal="written"),
        book_feature("event_timestamp", "UnixTimestamp"),
        *map(book_feature, ("snapshot", "two_tower_row", "updated", "position", "event_time", "popularity")),
        *map(user_feature, ("split", "weight", "user_id")),
    ),
)

DELTA = (
    'timestamp_field="at", **settings',
    'timestamp_field="at", file_format=__import__("feast.data_format", fromlist=["_"]).DeltaFormat(), **settings',
)
TWICE = """again = FeatureView(
    name="books", entities=[book], source=table("books"), schema=[Field(name="genre", dtype=String)]
)
"""

MISTAKES = Kind(
    "mistakes in a repository",
    "Refused with exit status 2 and a sentence that names the file, with the last line of Feast or Python.",
    (
        refused("YAML that is not YAML", configured(("{type: duckdb}", "{type: duckdb")), "feature_store.yaml"),
        refused("no project", configured(("project: library\n", "")), "(?s)feature_store.yaml.*project"),
        refused("a project with a space", configured(("library", "our library!")), "our library!"),
        refused("misspelt online store", configured(("type: sqlite", "type: sqllite")), "sqllite"),
        refused("misspelt offline store", configured(("type: duckdb", "type: duckbd")), "duckbd"),
        refused("a warehouse whose package is missing", configured(("type: duckdb", "type: bigquery")), "bigquery"),
        refused(
            "registry in a bucket without credentials",
            configured(("data/registry.db", "s3://no-such-bucket-of-the-library/registry.db")),
            "(?i)registry|credentials",
        ),
        refused(
            "a module that is missing", defined(("from datetime", "import the_company\nfrom datetime")), "the_company"
        ),
        refused("a syntax error", defined(("item_tower =", "item_tower = =")), r"definitions\.py"),
        refused("a name that is not defined", defined(("features=[books]", "features=[bookz]")), "bookz"),
        refused(
            "a tag that is a number",
            defined(('name="genre", dtype=String', 'name="genre", dtype=String, tags={"dim": 8}')),
            r"definitions\.py",
        ),
        refused("two join keys", defined(('join_keys=["reader"]', 'join_keys=["reader", "branch"]')), "join"),
        refused("a view name twice", defined(("item_tower =", TWICE + "item_tower =")), "books"),
        refused(
            "a feature that the view lacks", defined(("[readers, borrowed]", '[readers[["agee"]], borrowed]')), "agee"
        ),
        refused("Delta without its package", defined(DELTA), "(?i)delta"),
    ),
)


def empty_keys(users: int | None, items: int | None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        loans = world.tables()["loans"]
        if users:
            loans.loc[::users, "reader"] = ""
        if items:
            loans.loc[::items, "book"] = ""
        world.repository(folder, loans=loans)

    return write


NULLS = "(?s)(reader|book).*(null|empty|missing)"
EMPTY = Kind(
    "keys that are the empty text",
    "They count as null: refused or held by the name of the column and the number of rows.",
    tuple(
        Member(name, empty_keys(users, items), served=False, refusal=NULLS, held=NULLS)
        for name, users, items in (
            ("users and items", 50, 70),
            ("users", 40, None),
            ("items", None, 40),
        )
    ),
)

KINDS = (NOT_ONLINE, NAMES, MISTAKES, EMPTY)
