import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.two_tower import shop
from two_tower.checks import expectations, suites
from two_tower.config import PullConfig
from two_tower.data import features
from two_tower.data.pulled import Pulled
from two_tower.gates import Verdict


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    folder = tmp_path_factory.mktemp("shop")
    repo = shop.write(folder / "repo")
    return features.pull(repo, PullConfig(train_fraction=0.6, validation_fraction=0.2), None, folder / "pulled")


def put(pulled: Pulled, table: str, column: str, values: list, kind: pa.DataType | None = None) -> Pulled:
    """The pulled tables with the first values of one column replaced."""
    old: pa.Table = getattr(pulled, table)
    changed = pa.array([*values, *old[column].to_pylist()[len(values) :]], kind or old.schema.field(column).type)
    return replace(pulled, **{table: old.set_column(old.column_names.index(column), column, changed)})


def held(pulled: Pulled, tmp_path: Path) -> str:
    """The one reason why the gate held."""
    verdict = expectations.validate(pulled, tmp_path / "report.html")
    assert not verdict.passed and len(verdict.reasons) == 1, verdict.reasons
    return verdict.reasons[0]


def test_clean_data_pass_and_the_report_needs_nothing_else(clean, tmp_path):
    verdict = expectations.validate(clean, tmp_path / "reports" / "data.html")
    assert verdict.passed and verdict.gate == "data"
    assert verdict.details["expectations"] > 50 and verdict.details["failed"] == 0
    verdict.write(tmp_path / "verdict.json")
    assert Verdict.read(tmp_path / "verdict.json").details == verdict.details
    page = (tmp_path / "reports" / "data.html").read_text()
    assert "passed" in page and "catalogue: " in page
    assert not re.search(r"https?:|src=|href=|@import|url\(", page)


def test_suites_follow_from_the_contract(clean):
    found = suites.suites(clean.contract)
    assert set(found) == {"interactions", "user", "item", "catalogue"}
    assert {e.column for e in found["user"].expectations if hasattr(e, "column")} == {
        f.name for f in clean.contract.user
    }
    json.dumps([suite.to_json_dict() for suite in found.values()])


def test_a_wholly_null_column(clean, tmp_path):
    nothing = put(clean, "user", "recent", [None] * clean.user.num_rows)
    assert held(nothing, tmp_path).startswith(
        "user.recent: expect_column_proportion_of_non_null_values_to_be_between: observed 0"
    )
    assert "user.recent" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "nan"), (float("-inf"), "-inf")])
@pytest.mark.parametrize("table", ["item", "catalogue"])
def test_a_number_that_is_not_finite(clean, tmp_path, table, value, shown):
    reason = held(put(clean, table, "price", [1.0, None, value]), tmp_path)
    assert f"{table}.price: " in reason and f"1 of {getattr(clean, table).num_rows} values" in reason
    assert f"such as {shown} (row 2)" in reason


def test_a_vector_that_is_not_finite_or_of_another_width(clean, tmp_path):
    assert "item.photo (finite): " in held(put(clean, "item", "photo", [None, [1.0, float("nan")]]), tmp_path)
    assert "item.photo: expect_column_unique_value_count" in held(put(clean, "item", "photo", [[1.0]]), tmp_path)


def test_a_timestamp_after_as_of(clean, tmp_path):
    future = clean.bounds.as_of + timedelta(days=1)
    reason = held(put(clean, "interactions", "event_timestamp", [future]), tmp_path)
    assert "interactions.event_timestamp: " in reason and f"{future.isoformat()} (row 0)" in reason


def test_a_catalogue_that_holds_an_item_twice(clean, tmp_path):
    twice = replace(clean, catalogue=pa.concat_tables([clean.catalogue, clean.catalogue.slice(3, 1)]))
    reason = held(twice, tmp_path)
    assert "catalogue.two_tower_snapshot, sku: expect_compound_columns_to_be_unique: 2 of" in reason
    assert repr(clean.catalogue["sku"][3].as_py()) in reason


def test_a_null_key(clean, tmp_path):
    assert "interactions.customer: " in held(put(clean, "interactions", "customer", [None]), tmp_path)


def test_a_negative_weight(clean, tmp_path):
    assert "such as -2.0 (row 0)" in held(put(clean, "interactions", "weight", [-2.0]), tmp_path).replace(
        "-2 ", "-2.0 "
    )


def test_a_string_that_is_a_document(clean, tmp_path):
    assert "item.colour: " in held(put(clean, "item", "colour", ["x" * 5000]), tmp_path)


def test_items_that_the_catalogue_does_not_know(clean, tmp_path):
    few = put(clean, "interactions", "sku", ["p99"] * 5)
    assert expectations.validate(few, tmp_path / "report.html").passed
    assert "'p99' (row 0)" in held(put(clean, "interactions", "sku", ["p99"] * 30), tmp_path)


def test_rows_that_belong_to_no_interaction(clean, tmp_path):
    assert held(replace(clean, user=clean.user.slice(1)), tmp_path).startswith("user: expect_table_row_count_to_equal")


def test_a_type_that_is_not_the_contract_s_and_a_column_that_is_absent(clean, tmp_path):
    ages = clean.user["age"].cast(pa.float64())
    wrong = replace(clean, user=clean.user.set_column(0, "age", ages).drop_columns("member"))
    verdict = expectations.validate(wrong, tmp_path / "report.html")
    assert len(verdict.reasons) == 2
    assert "user.age: " in verdict.reasons[0] and "'double'" in verdict.reasons[0] and "int64" in verdict.reasons[0]
    assert "user.member: " in verdict.reasons[1] and "'absent'" in verdict.reasons[1]


def test_a_constant_column_only_warns(clean, tmp_path):
    verdict = expectations.validate(
        put(clean, "user", "orders", np.full(clean.user.num_rows, 3).tolist()), tmp_path / "report.html"
    )
    assert verdict.passed and "user.orders: " in verdict.details["warnings"][0]


def test_a_hostile_value_is_only_text_in_the_report(clean, tmp_path):
    held(put(clean, "item", "colour", ["<script>alert(1)</script>" + "x" * 5000]), tmp_path)
    assert "<script" not in (tmp_path / "report.html").read_text()
