import contextlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from tests.two_tower import shop
from two_tower.checks.skew_stores import Online, compare_values, online_rows
from two_tower.data import features, sources
from two_tower.data.repository import open_store

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def test_a_value_is_missing_once_its_row_is_older_than_the_ttl():
    row = Online({"a": 1, "b": 2}, {"a": NOW, "b": NOW}, {"a": timedelta(hours=1)})
    assert row.values_at(NOW + timedelta(hours=1)) == {"a": 1, "b": 2}
    assert row.values_at(NOW + timedelta(hours=1, seconds=2)) == {"a": None, "b": 2}


def test_a_row_past_its_ttl_is_missing_at_both_ends(tmp_path: Path):
    definitions = shop.DEFINITIONS.replace(
        'source=table("customers"),', 'source=table("customers"), ttl=timedelta(minutes=30),'
    )
    repo = shop.write(tmp_path / "repo", definitions)
    as_of = shop.at(shop.EVENTS - 1)
    features.materialize(repo, as_of)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(repo, asof=True)
        contract = features.contract(store)
        release = SimpleNamespace(contract=contract, manifest=SimpleNamespace(as_of=as_of))
        layers: dict[str, dict[str, int]] = {}
        online = online_rows(store, contract, [1, 2, 3])
        assert [row.values["age"] for row in online] == [21, None, 23]
        assert list(compare_values(store, release, [1, 2, 3], online, layers)) == []
    (early,) = features.online_rows(store, contract, [1], shop.at(30))
    (late,) = features.online_rows(store, contract, [1], shop.at(30) + timedelta(microseconds=1))
    assert early["age"] == 21 and late["age"] is None and late["orders"] == early["orders"]
    assert features.online_rows(store, contract, [1])[0]["age"] is None
