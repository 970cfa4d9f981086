import shutil
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.two_tower import shop
from tests.two_tower.data.pulling import CONFIG
from two_tower.data import features
from two_tower.data.pulled import EVENT_TIMESTAMP, SNAPSHOT, Pulled, Split
from two_tower.errors import InputError
from two_tower.inputs import arrow_schema


def rows(pulled: Pulled, customer: int) -> list[dict]:
    """One customer's interactions with the features as of each, in order of time."""
    mine = np.flatnonzero(pulled.interactions["customer"].to_numpy() == customer)
    joined = [t.take(pa.array(mine)).to_pylist() for t in (pulled.interactions, pulled.user, pulled.item)]
    return [{**a, **b, **c} for a, b, c in zip(*joined, strict=True)]


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


@pytest.mark.parametrize("window", [7, 50])
def test_the_features_are_the_same_whatever_the_window(repo, tmp_path, pulled, monkeypatch, window):
    monkeypatch.setattr(features, "WINDOW", window)
    again = features.pull(repo, CONFIG, None, tmp_path)
    assert len(list((tmp_path / "user").iterdir())) == -(-pulled.interactions.num_rows // window)
    assert again == pulled


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.slice(0, 0), "'interactions' has no rows"),
        (lambda t: t.filter(pa.array(t["customer"].to_numpy() == 1)), r"only one user \(1\)"),
        (lambda t: t.slice(0, 90), "the validation split has 18 of 90 interactions; it needs at least 20"),
        (lambda t: t.drop_columns("sku"), r"unknown column .* 'sku'"),
        (lambda t: t.set_column(0, "customer", pa.array([None, *t["customer"].to_pylist()[1:]])), "has 1 null values"),
        (
            lambda t: t.set_column(1, "sku", pa.array(["", "", *t["sku"].to_pylist()[2:]])),
            "'sku' .* has 2 null values or em",
        ),
        (
            lambda t: t.set_column(0, "customer", t["customer"].cast(pa.string())),
            "'customer' .* has the type string; Int64",
        ),
        (lambda t: t.set_column(0, "customer", pa.array(t["customer"].to_numpy() + 0.5)), "does not fit Int64"),
    ],
)
def test_interactions_that_cannot_be_used_are_named(tmp_path, change, message):
    repo = shop.write(tmp_path / "repo", orders=change(shop.tables()["orders"]))
    with pytest.raises(InputError, match=message):
        features.pull(repo, CONFIG, None, tmp_path / "pulled")


def test_a_view_without_rows_is_named(tmp_path):
    repo = shop.write(tmp_path / "repo", stock=shop.tables()["stock"].slice(0, 0))
    with pytest.raises(
        InputError, match=r"feature view 'stock' has no rows.*remove the view from the feature service 'item_tower'"
    ):
        features.pull(repo, CONFIG, None, tmp_path / "pulled")


def test_the_empty_text_is_not_an_item(tmp_path):
    products = shop.tables()["products"]
    keys = pa.array(["", *products["sku"].to_pylist()[1:]])
    repo = shop.write(tmp_path / "repo", products=products.set_column(0, "sku", keys))
    assert "" not in features.pull_catalogue(repo, None, tmp_path / "catalogue").items["sku"].to_pylist()


def test_a_copied_repository_reads_its_own_files(tmp_path, repo, pulled):
    copy = tmp_path / "copy"
    shutil.copytree(repo, copy)
    again = features.pull(copy, CONFIG, None, tmp_path / "pulled")
    assert again.user == pulled.user and again.catalogue == pulled.catalogue
