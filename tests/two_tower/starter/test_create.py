"""From files to a repository that Feast applies and that trains: what is in it, and what is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.two_tower.starter import tables
from two_tower.config import PullConfig
from two_tower.data.features import materialize, online_rows, pull
from two_tower.data.pulled import Pulled
from two_tower.data.repository import contract, open_store
from two_tower.data.users import pull_users
from two_tower.datasets.prepare import write_sources
from two_tower.errors import InputError
from two_tower.schema import Dtype, Encoding
from two_tower.starter import files
from two_tower.starter.build import build
from two_tower.starter.create import create, refresh
from two_tower.starter.options import Options
from two_tower.starter.plan import Plan


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(interactions=tables.events(tmp_path), users=tables.users(tmp_path), items=tables.items(tmp_path))


def columns(plan: Plan) -> dict[str, str]:
    """What became of each column of each file."""
    found = [c for t in (plan.users, plan.items, plan.interactions) if t for c in t.columns]
    return {c.source: f"{c.role} {c.field}".strip() for c in found}


def test_a_repository_that_trains_as_it_is(options: Options, tmp_path: Path) -> None:
    plan, _ = create(tmp_path / "repo", options)
    became = columns(plan)
    assert became["id"] == "user key customer"
    assert became["sku"] == "item key sku"
    assert became["ordered_at"] == "time event_timestamp"
    assert became["stars"] == "kept stars"
    assert {n for n, b in became.items() if b == "unused"} == {"currency", "page", "last_login"}

    pulled = pull(tmp_path / "repo", PullConfig(), None, tmp_path / "pulled")
    schema = pulled.contract
    assert (schema.user_key, schema.user_key_dtype) == ("customer", Dtype.STRING)
    assert (schema.item_key, schema.item_key_dtype) == ("sku", Dtype.INT64)
    user = {f.name: (f.dtype, f.encoding) for f in schema.user}
    assert user["newsletter"] == (Dtype.BOOL, Encoding.CATEGORICAL)
    assert user["joined"] == (Dtype.TIMESTAMP, Encoding.AGE)
    assert user["recent_items"] == (Dtype.INTS, Encoding.HISTORY)
    item = {f.name: (f.dtype, f.encoding) for f in schema.item}
    assert item["item"] == (Dtype.INT64, Encoding.CATEGORICAL)
    assert item["made_in"] == (Dtype.STRINGS, Encoding.BAG)
    assert schema.seen is not None

    events = pulled.interactions.select(["customer", "sku"]).to_pylist()
    last = events[-1]
    past = [e["sku"] for e in events[:-1] if e["customer"] == last["customer"]]
    assert pulled.user["recent_items"][-1].as_py() == past, "its own event is not in a user's history"
    assert pulled.user["age"].null_count == 0, "users are known from the start"


def test_three_columns_are_enough(tmp_path: Path) -> None:
    rows = [(f"c{n % 7}", n % 11, tables.when(n)) for n in range(300)]
    path = tables.write(tmp_path / "orders.csv", [("customer", "sku", "ordered_at"), *rows])
    create(tmp_path / "repo", Options(interactions=path))
    pulled = pull(tmp_path / "repo", PullConfig(), None, tmp_path / "pulled")
    assert pulled.interactions["weight"].unique().to_pylist() == [1.0]
    assert pulled.interactions.num_rows == 300


@pytest.mark.parametrize(
    "stamp",
    [
        lambda t: int(t.timestamp()),
        lambda t: int(t.timestamp() * 1000),
        lambda t: t.strftime("%m/%d/%Y %H:%M"),
        lambda t: t.strftime("%d.%m.%Y %H:%M:%S"),
    ],
    ids=["seconds", "milliseconds", "US", "German"],
)
def test_times_of_any_form_are_the_same_instants(tmp_path: Path, stamp: object) -> None:
    _, made = create(tmp_path / "repo", Options(interactions=tables.events(tmp_path, stamp)))
    assert made.interactions["event_timestamp"].to_pylist() == [tables.when(n) for n in range(tables.EVENTS)]


def test_one_table_for_all_gives_users_and_items_what_does_not_change_with_them(tmp_path: Path) -> None:
    head = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "CustomerID", "Country")
    lines = [
        (
            n // 3,
            f"S{n % 7}",
            f"thing {n % 7}",
            n % 5 - 1,
            tables.when(n),
            f"{n % 11}.0" if n % 13 else "",
            tables.PLACES[n % 11 % 3],
        )
        for n in range(300)
    ]
    path = tables.write(tmp_path / "retail.csv", [head, *lines, lines[-2]])
    plan, made = create(tmp_path / "repo", Options(interactions=path, users=path, items=path, where='"Quantity" > 0'))
    became = columns(plan)
    assert became["CustomerID"] == "user key CustomerID"
    assert became["StockCode"] == "item key StockCode"
    assert became["Country"] == "user feature Country"
    assert became["Description"] == "item feature Description"
    assert became["InvoiceNo"] == "kept InvoiceNo"
    assert plan.user_dtype == Dtype.INT64
    assert (made.users.num_rows, made.items.num_rows) == (11, 7)
    taken = [line for line in lines if line[3] > 0 and line[5]]
    assert made.interactions.num_rows == len(taken)
    assert made.report["no_user"] == sum(not line[5] for line in [*lines, lines[-2]])
    assert made.report["duplicate"] == 1
    first = made.items.filter(pc.equal(made.items["StockCode"], "S3"))
    assert first["event_timestamp"][0].as_py() == next(line[4] for line in taken if line[1] == "S3")
    assert first["first_seen"][0] == first["event_timestamp"][0], "an item without a table has an age nevertheless"
    assert not plan.data_notes, "--where has dropped the returns"


def test_several_rows_of_a_user_hold_from_their_times_on(options: Options, tmp_path: Path) -> None:
    rows = [("c001", "2023-12-01", "Bonn"), ("c001", "2024-02-01", "Köln"), ("c002", "2024-01-01", "Bonn")]
    users = tables.write(tmp_path / "versions.csv", [("customer", "valid_since", "city"), *rows])
    _, made = create(tmp_path / "repo", Options(interactions=options.interactions, users=users))
    told = {(u["customer"], u["event_timestamp"]): u["city"] for u in made.users.to_pylist() if u["city"]}
    assert told[("c001", datetime(2023, 12, 1, tzinfo=UTC))] == "Bonn"
    assert told[("c001", datetime(2024, 2, 1, tzinfo=UTC))] == "Köln"


def test_again_after_new_events_keeps_what_was_edited(options: Options, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    create(repo, options)
    edited = (repo / "definitions.py").read_text() + "# mine\n"
    (repo / "definitions.py").write_text(edited)
    tables.events(tmp_path, count=tables.EVENTS + 50)
    _, made = refresh(repo, {})
    assert made.interactions.num_rows == tables.EVENTS + 50
    newest = tables.when(tables.EVENTS + 49) + timedelta(microseconds=1)
    assert max(pq.read_table(repo / "data" / "user_activity.parquet")["event_timestamp"].to_pylist()) == newest
    assert (repo / "definitions.py").read_text() == edited

    daily = tables.write(tmp_path / "day.csv", [("customer", "sku", "ordered_at"), ("c001", 1, "2024-01-01")])
    with pytest.raises(InputError, match="no longer has the column 'stars'"):
        refresh(repo, {"interactions": daily})
    with pytest.raises(InputError, match="is not empty"):
        create(repo, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": Path("/no/such/file.csv")}, "/no/such/file.csv does not exist"),
        ({"user_key": "custmer"}, "Did you mean 'customer'"),
        ({"timestamp": "orderd_at"}, "Did you mean 'ordered_at'"),
        ({"timestamp": "stars"}, "--timestamp-format"),
        ({"timestamp_format": "%d/%m/%Y"}, "no column has the time|are not a time"),
        ({"weight": "star"}, "Did you mean 'stars'"),
        ({"ignore": ("pages",)}, "Did you mean 'page'"),
        ({"where": "Quantity > 0"}, "--where"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_told_and_nothing_is_written(
    options: Options, tmp_path: Path, change: dict, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        create(tmp_path / "repo", replace(options, **change))
    assert not (tmp_path / "repo").exists()


def test_tables_that_do_not_meet_or_times_in_an_unknown_format_are_told(options: Options, tmp_path: Path) -> None:
    other = tables.write(tmp_path / "other.csv", [("id", "age"), ("x1", 3), ("x2", 4)])
    with pytest.raises(InputError, match="no column contains the user ids"):
        create(tmp_path / "repo", Options(interactions=options.interactions, users=other))
    unread = tables.write(tmp_path / "t.csv", [("customer", "sku", "date"), ("a", 1, "Mo"), ("b", 2, "Tu")])
    with pytest.raises(InputError, match=r"in a known format. Columns that may have it: date. Set .* --timestamp none"):
        create(tmp_path / "repo", Options(interactions=unread))
    nameless = tables.write(tmp_path / "n.csv", [("who", "what", "at"), ("a", 1, "2024-01-01"), ("b", 2, "2024-01-02")])
    with pytest.raises(InputError, match="--user-key COLUMN"):
        create(tmp_path / "repo", Options(interactions=nameless))


NAMES = ("index", "snapshot", "event_time", "embedding", "popularity", "weight", "row", "split", "item_events", "Item")


@pytest.mark.parametrize(
    ("user", "item", "time"), [("user", "item", "event_timestamp"), ("i", "u", "t"), ("index", "order", "snapshot")]
)
def test_columns_with_names_of_two_tower_give_the_same_data(tmp_path: Path, user: str, item: str, time: str) -> None:
    def pulled(folder: Path, head: tuple[str, ...], names: tuple[str, ...]) -> tuple[Plan, Pulled]:
        folder.mkdir()
        rows = [(f"c{n % 7}", n % 11, tables.when(n)) for n in range(300)]
        events = tables.write(folder / "orders.csv", [head, *rows])
        table = [(n, *(f"{name[:3]}{n % 3}" for name in NAMES)) for n in range(11)]
        items = tables.write(folder / "articles.csv", [(head[1], *names), *table])
        options = Options(interactions=events, items=items, user_key=head[0], item_key=head[1], timestamp=head[2])
        plan, _ = create(folder / "repo", options)
        return plan, pull(folder / "repo", PullConfig(), None, folder / "pulled")

    plain_names = tuple(f"plain{n}" for n in range(len(NAMES)))
    _, plain = pulled(tmp_path / "plain", ("customer", "sku", "ordered_at"), plain_names)
    plan, other = pulled(tmp_path / "other", (user, item, time), NAMES)
    renamed = {c.source: c.field for c in plan.features("item")}
    assert set(renamed) == set(NAMES) and len({f.lower() for f in renamed.values()}) == len(NAMES)
    for name, plain_name in zip(NAMES, plain_names, strict=True):
        assert other.catalogue[renamed[name]].equals(plain.catalogue[plain_name]), name
    for name in ("recent_items", "user_events", "last_seen"):
        assert other.user[name].equals(plain.user[name])
    assert other.item["item_events"].equals(plain.item["item_events"])


def test_activity_features_without_values_are_left_out(tmp_path: Path) -> None:
    def events(minutes: int) -> Path:
        rows = [(f"c{n % 7}", n % 11, tables.START + timedelta(minutes=minutes * n)) for n in range(300)]
        return tables.write(tmp_path / "orders.csv", [("customer", "sku", "ordered_at"), *rows])

    plan, _ = create(tmp_path / "day", Options(interactions=events(1)))
    assert plan.activity == ("user_activity",) and "interactions of earlier days" in plan.notes[-1]
    names = {f.name for f in pull(tmp_path / "day", PullConfig(), None, tmp_path / "pulled").contract.item}
    assert names == {"item", "first_seen"}
    with pytest.raises(InputError, match="users have no features"):
        create(tmp_path / "instant", Options(interactions=events(0)))
    people = tables.write(tmp_path / "people.csv", [("customer", "city"), *((f"c{n}", f"t{n % 3}") for n in range(7))])
    plan, _ = create(tmp_path / "people", Options(interactions=events(0), users=people))
    assert plan.activity == ()
    refresh(tmp_path / "people", {})
    assert Plan.read(tmp_path / "people").activity == ()


def test_interactions_without_times_train_with_a_holdout_per_user(tmp_path: Path) -> None:
    rows = [(f"c{n % 29}", n % 31) for n in range(400)]
    path = tables.write(tmp_path / "orders.csv", [("customer", "sku"), *rows])
    repo = tmp_path / "repo"
    plan, made = create(repo, Options(interactions=path))
    assert plan.notes[0].startswith("the interactions have no times, so the split is a random holdout")
    assert made.interactions["event_timestamp"].unique().to_pylist() == [datetime.fromisoformat(plan.read_at)]
    pulled = pull(repo, PullConfig(), None, tmp_path / "pulled")
    assert pulled.bounds.split == "per_user"
    assert [f.name for f in pulled.contract.user] == ["seen_items"], "no activity features"
    assert [f.name for f in pulled.contract.item] == ["item"]
    for item, history in zip(
        pulled.interactions["sku"].to_pylist(), pulled.user["seen_items"].to_pylist(), strict=True
    ):
        assert item not in (history or [])

    materialize(repo, pulled.bounds.as_of)
    users = pull_users(repo, pulled.bounds.as_of)
    rows_online = online_rows(open_store(repo), pulled.contract, users["customer"].to_pylist())
    assert [set(row["seen_items"]) for row in rows_online] == [
        {sku for customer, sku in rows if customer == user} for user in users["customer"].to_pylist()
    ]
    assert [row["seen_items"] for row in rows_online] == users["seen_items"].to_pylist(), "served as trained"


def test_without_times_new_rows_replace_the_older_ones_online(tmp_path: Path) -> None:
    rows = [(f"c{n % 29}", n % 31) for n in range(400)]
    path = tables.write(tmp_path / "orders.csv", [("customer", "sku"), *rows])
    repo = tmp_path / "repo"
    plan, _ = create(repo, Options(interactions=path))
    yesterday = datetime.fromisoformat(plan.read_at) - timedelta(days=1)
    earlier = build(
        replace(plan, read_at=yesterday.isoformat()), {"event": files.read(path, "interaction", None, None).table}
    )
    write_sources(earlier, repo / "data")
    materialize(repo, yesterday)
    tables.write(path, [("customer", "sku"), *rows, ("c0", 99)])
    again, _ = refresh(repo, {})
    materialize(repo, datetime.fromisoformat(again.read_at))
    store = open_store(repo)
    assert 99 in online_rows(store, contract(store), ["c0"])[0]["seen_items"]


@pytest.mark.parametrize("columns", [("customer", "age"), ("customer", "joined", "age")], ids=["no time", "a time"])
def test_corrected_and_new_users_are_online_after_a_refresh(columns: tuple[str, ...], tmp_path: Path) -> None:
    def users(*ages: int) -> Path:
        rows = [{"customer": f"c{n:03}", "joined": "2023-12-01", "age": age} for n, age in enumerate(ages)]
        return tables.write(tmp_path / "people.csv", [columns, *([row[name] for name in columns] for row in rows)])

    ages = list(range(20, 20 + tables.USERS))
    repo = tmp_path / "repo"
    events = tables.events(tmp_path)
    create(repo, Options(interactions=events, users=users(*ages[:-1])))
    materialize(repo, tables.when(tables.EVENTS))
    users(99, *ages[1:])
    refresh(repo, {})
    materialize(repo, tables.when(tables.EVENTS))
    store = open_store(repo)
    keys = [f"c{n:03}" for n in range(tables.USERS)]
    assert [row["age"] for row in online_rows(store, contract(store), keys)] == [99, *ages[1:]]


def test_the_time_column_can_be_ignored(options: Options, tmp_path: Path) -> None:
    plan, made = create(tmp_path / "repo", replace(options, timestamp="none"))
    assert columns(plan)["ordered_at"] == "unused"
    assert columns(plan)["stars"] == "kept stars"
    pulled = pull(tmp_path / "repo", PullConfig(), None, tmp_path / "pulled")
    assert pulled.bounds.split == "per_user"
    assert pulled.user["age"].null_count == 0, "users are known at the time of the interactions"
    assert made.interactions.num_rows == len({(e["customer"], e["sku"]) for e in made.interactions.to_pylist()})


def test_interactions_later_than_now_are_dropped(tmp_path: Path) -> None:
    rows = [
        (f"c{n % 7}", n % 11, tables.when(n) if n % 50 else datetime(2031, 1, 1 + n % 7, tzinfo=UTC))
        for n in range(300)
    ]
    path = tables.write(tmp_path / "orders.csv", [("customer", "sku", "ordered_at"), *rows])
    _, made = create(tmp_path / "repo", Options(interactions=path))
    assert made.report["in_future"] == 6 and made.interactions.num_rows == 294
    tables.write(path, [("customer", "sku", "ordered_at"), *(row for row in rows if row[2].year == 2031)])
    with pytest.raises(InputError, match="all interactions were dropped: 6 interactions later than now"):
        create(tmp_path / "other", Options(interactions=path))


def test_a_condition_does_not_hold_for_nan(tmp_path: Path) -> None:
    stars = [5.0, float("nan"), 1.0] * 100
    columns = {"customer": [f"c{n % 7}" for n in range(300)], "sku": [n % 11 for n in range(300)]}
    times = [tables.when(n) for n in range(300)]
    pq.write_table(pa.table({**columns, "ordered_at": times, "stars": stars}), tmp_path / "orders.parquet")
    options = Options(interactions=tmp_path / "orders.parquet", where="stars >= 4")
    _, made = create(tmp_path / "repo", options)
    assert made.interactions.num_rows == 100
    _, made = create(tmp_path / "all", replace(options, where=None))
    assert made.interactions["stars"].null_count == 100


def test_personal_data_are_left_out_and_summaries_are_marked(options: Options, tmp_path: Path) -> None:
    head = ("customer", "first_name", "contact", "avg_rating", "city")
    rows = [(f"c{n:03}", f"Ann{n % 3}", f"a{n % 9}@b.org", n / 7, tables.PLACES[n % 3]) for n in range(tables.USERS)]
    users = tables.write(tmp_path / "people.csv", [head, *rows])
    plan, _ = create(tmp_path / "repo", replace(options, users=users))
    assert [c.field for c in plan.features("user")] == ["avg_rating", "city"]
    assert [c.warning for c in plan.features("user")] == ["may summarise later events; the leak gate checks it", ""]
    assert "# may summarise later events" in (tmp_path / "repo" / "definitions.py").read_text()


def test_notes_count_the_rows_that_are_kept(tmp_path: Path) -> None:
    rows = [(f"c{n % 7}", n % 11, tables.when(n), n % 5 - 1) for n in range(300)]
    path = tables.write(tmp_path / "orders.csv", [("customer", "sku", "ordered_at", "quantity"), *rows])
    plan, _ = create(tmp_path / "all", Options(interactions=path))
    assert "0 or negative in 120 of the kept interactions" in plan.data_notes[0]
    people = tables.write(
        tmp_path / "people.csv", [("customer", "age"), *((f"c{n}", 20 + n) for n in range(5)), ("", 1)]
    )
    options = Options(interactions=path, users=people, where='"quantity" > 0')
    plan, made = create(tmp_path / "positive", options)
    assert not plan.data_notes
    assert made.report["user_added"] == 2 and made.report["user_without_key"] == 1
    tables.write(path, [("customer", "sku", "ordered_at", "quantity"), *rows, ("c1", 1, tables.when(300), "?")])
    again, _ = refresh(tmp_path / "all", {})
    assert again.data_notes[0] == "quantity: 1 values, such as '?', are invalid: missing."
