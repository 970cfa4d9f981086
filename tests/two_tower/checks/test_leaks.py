"""Leaks planted into a repository are named by view and feature; what `two-tower init` made is clean."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.two_tower import shop
from tests.two_tower.starter import tables
from two_tower.checks.leaks import check
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.starter.create import create
from two_tower.starter.options import Options

USERS, EVENTS = 60, 1500


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tables, "USERS", USERS)
    options = Options(
        interactions=tables.events(tmp_path, count=EVENTS), users=tables.users(tmp_path), items=tables.items(tmp_path)
    )
    create(tmp_path / "repo", options)
    return tmp_path / "repo"


def edit(repo: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    path = repo / "data" / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def restamped(by: timedelta) -> Callable[[pa.Table], pa.Table]:
    return lambda t: replaced(t, "event_timestamp", pc.subtract(t["event_timestamp"], pa.scalar(by, pa.duration("us"))))


def named(verdict: Verdict) -> set[tuple[str, str]]:
    assert verdict.passed == (not verdict.reasons)
    return {(one["view"], one["feature"]) for one in verdict.details["features"] if one["leaks"]}


def test_a_feature_may_be_called_event_timestamp(tmp_path: Path) -> None:
    products = shop.tables()["products"]
    numbers = pa.array(range(products.num_rows))
    field = '        Field(name="colour", dtype=String),\n'
    text = shop.DEFINITIONS.replace(field, field + '        Field(name="event_timestamp", dtype=Int64),\n')
    assert text != shop.DEFINITIONS
    folder = shop.write(tmp_path / "repo", text, products=products.append_column("event_timestamp", numbers))
    assert "event_timestamp" in {one["feature"] for one in check(folder).details["features"]}


@pytest.mark.slow
def test_a_clean_repository_passes(repo: Path) -> None:
    verdict = check(repo)
    assert verdict.passed, verdict.reasons
    assert {one["test"] for one in verdict.details["features"] if one["conclusive"]} == {
        "shift",
        "own item",
        "own event",
        "future",
    }


def test_without_times_no_test_runs_and_the_verdict_says_so(repo: Path) -> None:
    file = repo / "definitions.py"
    text = file.read_text()
    file.write_text(text.replace("    online=False,\n", '    online=False,\n    tags={"split": "per_user"},\n'))
    verdict = check(repo)
    assert verdict.passed and verdict.details["features"] == []
    assert verdict.details["inconclusive"] == ["any feature: all tests need the times of the interactions"]
    file.write_text(text.replace("    online=False,\n", '    online=False,\n    tags={"split": "random"},\n'))
    with pytest.raises(InputError, match=r"unknown tag 'split' of feature view 'interactions': 'random'. .*per_user"):
        check(repo)


def test_rows_stamped_with_their_own_event(repo: Path) -> None:
    edit(repo, "user_activity", restamped(timedelta(microseconds=1)))
    verdict = check(repo)
    assert named(verdict) == {("user_activity", f) for f in ("recent_items", "user_events", "last_seen")}
    assert "'user_activity', feature 'recent_items'" in verdict.reasons[0]


@pytest.mark.slow
def test_a_days_figures_stamped_with_the_days_beginning(repo: Path) -> None:
    edit(repo, "item_activity", restamped(timedelta(days=1)))
    found = named(check(repo))
    assert ("item_activity", "item_events") in found
    assert {view for view, _ in found} == {"item_activity"}


@pytest.mark.slow
def test_a_total_over_all_data_in_a_static_table(repo: Path) -> None:
    events = pq.read_table(repo / "data" / "interactions.parquet")
    counts = {c["values"]: c["counts"] for c in events["customer"].value_counts().to_pylist()}
    totals = lambda t: replaced(t, "age", pa.array([counts[c] for c in t["customer"].to_pylist()]))  # noqa: E731
    edit(repo, "users", totals)
    assert named(check(repo)) == {("users", "age")}

    definitions = repo / "definitions.py"
    text = definitions.read_text()
    tagged = text.replace('name="age", dtype=Int64', 'name="age", dtype=Int64, tags={"known_ahead": "true"}')
    assert tagged != text
    definitions.write_text(tagged)
    assert check(repo).passed, "its owner says that it is known"


@pytest.mark.slow
def test_a_history_that_was_exported_at_the_end(repo: Path) -> None:
    seen = pq.read_table(repo / "data" / "user_seen.parquet")
    taken = {u["customer"]: u["seen_items"] for u in seen.to_pylist()}
    edit(
        repo,
        "user_activity",
        lambda t: replaced(t, "recent_items", pa.array([taken[c] for c in t["customer"].to_pylist()])),
    )
    assert ("user_activity", "recent_items") in named(check(repo))
