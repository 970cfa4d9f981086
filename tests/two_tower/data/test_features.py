import contextlib
import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tests.two_tower import shop
from two_tower.config import PullConfig
from two_tower.data import features, sources
from two_tower.data.pulled import EVENT_TIMESTAMP, SNAPSHOT, Pulled, Split
from two_tower.data.repository import open_store
from two_tower.errors import InputError
from two_tower.inputs import arrow_schema
from two_tower.schema import Dtype, Encoding

CONFIG = PullConfig(train_fraction=0.6, validation_fraction=0.2, index_refreshes=2)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shop.write(tmp_path_factory.mktemp("shop") / "repo")


@pytest.fixture(scope="module")
def pulled(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    return features.pull(repo, CONFIG, None, tmp_path_factory.mktemp("pulled"))


def rows(pulled: Pulled, customer: int) -> list[dict]:
    """One customer's interactions with the features as of each, in order of time."""
    mine = np.flatnonzero(pulled.interactions["customer"].to_numpy() == customer)
    joined = [t.take(pa.array(mine)).to_pylist() for t in (pulled.interactions, pulled.user, pulled.item)]
    return [{**a, **b, **c} for a, b, c in zip(*joined, strict=True)]


def test_contract_is_read_from_a_repository_with_its_own_keys(pulled):
    contract = pulled.contract
    assert (contract.user_key, contract.user_key_dtype) == ("customer", Dtype.INT64)
    assert (contract.item_key, contract.item_key_dtype) == ("sku", Dtype.STRING)
    assert [f.name for f in contract.user] == ["age", "member", "joined", "recent", "orders"]
    assert contract.user[3].encoding == Encoding.HISTORY and contract.user[3].max_length == 5
    assert contract.seen.name == "bought" and contract.seen.dtype == Dtype.STRINGS


def test_pulled_types_are_the_contract_s_even_with_nulls(pulled):
    assert pulled.user.schema == arrow_schema(pulled.contract.user)
    assert pulled.item.schema == arrow_schema(pulled.contract.item)
    assert {r["age"] for r in rows(pulled, 2)} == {None}
    assert {r["age"] for r in rows(pulled, 1)} == {21}


def test_an_event_does_not_see_itself_nor_one_of_its_own_instant(pulled):
    for customer in range(shop.CUSTOMERS):
        for row in rows(pulled, customer):
            before = [p for c, p, t in shop.orders() if c == customer and t < row[EVENT_TIMESTAMP]]
            assert row["orders"] == (len(before) or None)
            assert (row["recent"] or []) == before[-5:]


def test_activity_that_counts_the_event_itself_shows_in_what_is_pulled(tmp_path, pulled):
    activity = shop.tables()["activity"]
    early = pa.array([t - shop.MICROSECOND for t in activity["at"].to_pylist()], shop.STAMP)
    leaky = shop.write(tmp_path / "repo", activity=activity.set_column(1, "at", early))
    leaked = features.pull(leaky, CONFIG, None, tmp_path / "pulled")
    for honest, seeing in zip(rows(pulled, 4), rows(leaked, 4), strict=True):
        assert seeing["recent"][-1] == seeing["sku"]
        assert seeing["orders"] == (honest["orders"] or 0) + 1


def test_the_newest_writing_of_one_instant_counts_and_a_ttl_expires(pulled):
    found = [(r["sku"], r["colour"], r["left"], r[EVENT_TIMESTAMP]) for c in range(6) for r in rows(pulled, c)]
    assert {colour for sku, colour, _, _ in found if sku == "p0"} == {"blue"}
    assert {(left, t <= shop.at(120)) for sku, _, left, t in found if sku == "p1"} == {(5, True), (None, False)}


def test_windows_cut_the_time_line_and_never_an_instant(pulled):
    stamps = np.array(pulled.interactions[EVENT_TIMESTAMP].to_pylist())
    bounds = pulled.bounds
    assert (stamps == np.sort(stamps)).all()
    assert (stamps[pulled.rows(Split.TRAIN)] < bounds.train_end).all()
    assert (stamps[pulled.rows(Split.VALIDATION)] >= bounds.train_end).all()
    assert (stamps[pulled.rows(Split.VALIDATION)] < bounds.validation_end).all()
    assert (stamps[pulled.rows(Split.TEST)] >= bounds.validation_end).all()
    sizes = [len(pulled.rows(s)) / len(stamps) for s in Split]
    assert sizes == pytest.approx([0.6, 0.2, 0.2], abs=0.01)
    assert bounds.snapshots[:2] == (bounds.train_end, bounds.validation_end)
    assert len(bounds.snapshots) == 5 and bounds.as_of == shop.at(shop.EVENTS - 1)


def test_interactions_after_as_of_are_left_out(repo, tmp_path):
    as_of = shop.at(200.5)
    earlier = features.pull(repo, CONFIG, as_of, tmp_path)
    assert earlier.interactions[EVENT_TIMESTAMP][-1].as_py() == shop.at(200)
    assert earlier.bounds.as_of == as_of


def test_the_catalogue_holds_what_is_known_at_a_snapshot(tmp_path, pulled):
    products = shop.tables()["products"]
    late = products.slice(1, 1).set_column(0, "sku", pa.array(["p99"]))
    late = late.set_column(1, "at", pa.array([pulled.bounds.validation_end + timedelta(seconds=1)], shop.STAMP))
    repo = shop.write(tmp_path / "repo", products=pa.concat_tables([products, late]))
    grown = features.pull(repo, CONFIG, None, tmp_path / "pulled")
    sizes = [grown.catalogue_at(s).num_rows for s in grown.bounds.snapshots]
    assert sizes == [8, 8, 9, 9, 9]
    assert grown.catalogue.column_names == [SNAPSHOT, "sku", "colour", "price", "photo", "left"]


def test_a_pulled_folder_reads_back_as_it_was(repo, tmp_path):
    written = features.pull(repo, CONFIG, None, tmp_path)
    assert Pulled.read(tmp_path) == written


JOINED = ["customers:age", "activity:orders", "activity:recent", "products:colour", "stock:left"]


def entities(count: int) -> pd.DataFrame:
    """Random customers and products, unknown ones among them, before the first row, at and after the last."""
    rng = np.random.default_rng(0)
    minutes = rng.integers(-2, shop.EVENTS + 150, count)
    columns = {"customer": rng.integers(0, 8, count), "sku": [f"p{n}" for n in rng.integers(0, 9, count)]}
    stamps = pd.to_datetime([shop.at(int(m)) for m in minutes]).astype("datetime64[us, UTC]")
    return pd.DataFrame({**columns, "event_timestamp": stamps, "asked": np.arange(count)})


def test_the_asof_join_answers_as_feast_s_own(repo):
    features.apply(repo)
    answers = []
    with contextlib.chdir(repo), sources.ibis_session():
        for asof in (False, True):
            found = open_store(repo, asof=asof).get_historical_features(entities(300), JOINED).to_arrow()
            answers.append(found.sort_by("asked").to_pylist())
    assert answers[0] == answers[1]
    for name in (ref.split(":")[1] for ref in JOINED):
        missing = [row[name] is None for row in answers[1]]
        assert any(missing) and not all(missing)


def test_a_source_is_read_once_and_nothing_is_kept_of_what_was_asked(tmp_path):
    repo = shop.write(tmp_path / "repo")
    features.apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(repo, asof=True)
        first = store.get_historical_features(entities(300), JOINED).to_arrow()
        for path in (repo / "data").glob("*.parquet"):
            path.unlink()
        kept = pa.total_allocated_bytes()
        assert store.get_historical_features(entities(300), JOINED).to_arrow() == first
        assert pa.total_allocated_bytes() == kept


@pytest.mark.parametrize("window", [7, 50])
def test_the_features_are_the_same_whatever_the_window(repo, tmp_path, pulled, monkeypatch, window):
    monkeypatch.setattr(features, "WINDOW", window)
    again = features.pull(repo, CONFIG, None, tmp_path)
    assert len(list((tmp_path / "user").iterdir())) == -(-pulled.interactions.num_rows // window)
    assert again == pulled


def test_materialised_rows_include_those_stamped_just_after_the_last_event(repo, pulled):
    counts = features.materialize(repo, pulled.bounds.as_of)
    assert counts == {"customers": 7, "activity": 6, "products": 8, "stock": 2, "seen": 6}
    store = open_store(repo)
    known, unknown = features.online_rows(store, pulled.contract, [5, 12345])
    baskets = [p for c, p, _ in shop.orders() if c == 5]
    assert unknown is None
    assert known == {
        "age": 25,
        "member": False,
        "joined": shop.START - timedelta(days=5),
        "recent": baskets[-5:],
        "orders": len(baskets),
        "bought": sorted(set(baskets)),
    }


def test_repositories_with_modules_of_one_name_are_not_mixed_up(tmp_path, repo):
    renamed = shop.DEFINITIONS.replace('name="orders", dtype', 'name="purchases", dtype').replace(
        '": "orders"', '": "purchases"'
    )
    other = shop.write(tmp_path / "repo", renamed)
    names = [[f.name for f in features.contract(features.apply(r)).user] for r in (repo, other, repo)]
    assert names[0] == names[2] and names[0][-1] == "orders" and names[1][-1] == "purchases"


def without(text: str, part: str) -> str:
    assert part in text
    return text.replace(part, "")


@pytest.mark.parametrize(
    ("definitions", "said"),
    [
        (without(shop.DEFINITIONS, 'item_tower = FeatureService(name="item_tower", features=[products, stock])'),
         r"missing feature service 'item_tower'.*Allowed: user_seen, user_tower"),
        (shop.DEFINITIONS.replace('name="interactions"', 'name="interaction"'),
         r"missing feature view 'interactions'. Did you mean 'interaction'\?"),
        (shop.DEFINITIONS.replace('name="user", ', 'name="usr", '), r"missing entity 'user'. Did you mean 'usr'\?"),
        (shop.DEFINITIONS.replace("entities=[customer, product]", "entities=[customer]"),
         r"'interactions' is over \['customer'\]"),
        (shop.DEFINITIONS.replace("features=[customers, activity]", "features=[customers, stock]"),
         r"'user_tower' takes features of view 'stock'"),
        (shop.DEFINITIONS.replace('name="age", dtype=Int64', 'name="age", dtype=Array(Bool)'),
         r"field 'age' has the dtype Array\(Bool\)"),
        (shop.DEFINITIONS.replace('name="age", dtype=Int64', 'name="age", dtype=String'),
         r"column 'age' of feature view 'customers' in .*customers.parquet holds int64; String takes string"),
        (shop.DEFINITIONS.replace('name="recent", dtype=Array(String)', 'name="recent", dtype=Array(Int64)'),
         r"column 'recent' .* holds list<\w+: string>; Array\(Int64\) takes list<item: int64>"),
        (shop.DEFINITIONS.replace('Field(name="age"', 'Field(name="agee"'),
         r"unknown column of feature view 'customers' .* 'agee'. Did you mean 'age'\?"),
        (shop.DEFINITIONS.replace("data/{name}.parquet", "data/{name}s.parquet"), r"orderss.parquet is not there"),
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_used_are_named(tmp_path, definitions, said):
    with pytest.raises(InputError, match=said):
        features.pull(shop.write(tmp_path / "repo", definitions), CONFIG, None, tmp_path / "pulled")


def _nanoseconds(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("at"), "at", table["at"].cast(pa.timestamp("ns", tz="UTC")))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.slice(0, 0), "'interactions' has no rows"),
        (lambda t: t.filter(pa.array(t["customer"].to_numpy() == 1)), r"one user only \(1\)"),
        (lambda t: t.slice(0, 90), "the validation window has 18 of 90 interactions; at least 20"),
        (lambda t: t.drop_columns("sku"), r"unknown column .* 'sku'"),
        (lambda t: t.set_column(0, "customer", pa.array([None, *t["customer"].to_pylist()[1:]])), "has 1 nulls"),
        (lambda t: t.set_column(0, "customer", t["customer"].cast(pa.string())), "'customer' .* holds string; Int64"),
        (lambda t: t.set_column(0, "customer", pa.array(t["customer"].to_numpy() + 0.5)), "does not fit Int64"),
        (_nanoseconds, "'at' .* holds nanoseconds"),
    ],
)
def test_interactions_that_cannot_be_used_are_named(tmp_path, change, said):
    repo = shop.write(tmp_path / "repo", orders=change(shop.tables()["orders"]))
    with pytest.raises(InputError, match=said):
        features.pull(repo, CONFIG, None, tmp_path / "pulled")


def test_a_view_without_rows_is_named(tmp_path):
    repo = shop.write(tmp_path / "repo", stock=shop.tables()["stock"].slice(0, 0))
    with pytest.raises(InputError, match=r"feature view 'stock' has no rows.*leave it out of the service 'item_tower'"):
        features.pull(repo, CONFIG, None, tmp_path / "pulled")


def test_a_registry_file_of_something_else_is_named(tmp_path):
    repo = shop.write(tmp_path / "repo")
    (repo / "data" / "registry.db").write_bytes(b"\xff\xff not a registry of this version")
    with pytest.raises(InputError, match="another version of Feast"):
        features.apply(repo)


def test_a_service_that_names_a_view_no_longer_there(tmp_path):
    repo = shop.write(tmp_path / "repo")
    store = features.apply(repo)
    store.registry.delete_feature_view("activity", store.project)
    with pytest.raises(InputError, match=r"missing feature view 'activity'.*'user_tower' names it"):
        features.contract(open_store(repo))


def test_a_folder_without_a_repository(tmp_path):
    with pytest.raises(InputError, match=r"holds no feature_store\.yaml"):
        features.apply(tmp_path)


def test_a_copied_repository_reads_its_own_files(tmp_path, repo, pulled):
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy)
    again = features.pull(copy, CONFIG, None, tmp_path / "pulled")
    assert again.user == pulled.user and again.catalogue == pulled.catalogue
