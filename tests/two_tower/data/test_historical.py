from pathlib import Path

import pyarrow as pa
import pytest

from tests.two_tower import shop
from two_tower.data import features, sources
from two_tower.data.historical import historical_features
from two_tower.data.repository import open_store

KEYS = pa.array([5, 0, 5, 3, 999])
STAMPS = pa.array([shop.at(m) for m in (200, 100, 10, 150, 5)], shop.STAMP)


class Reversed:
    """A store that returns the rows of a join in reverse order, as a warehouse may."""

    def __init__(self, store) -> None:
        self._store = store

    def __getattr__(self, name: str):
        return getattr(self._store, name)

    def get_historical_features(self, **arguments):
        self._joined = self._store.get_historical_features(**arguments).to_arrow()
        return self

    def to_arrow(self) -> pa.Table:
        return self._joined.take(pa.array(range(self._joined.num_rows - 1, -1, -1)))


@pytest.mark.parametrize("order", [lambda store: store, Reversed])
def test_rows_are_in_the_order_of_the_keys_and_nothing_is_printed(repo, monkeypatch, capsys, order):
    features.apply(repo)
    monkeypatch.chdir(repo)
    with sources.ibis_session():
        joined = historical_features(order(open_store(Path.cwd(), asof=True)), "user_tower", "customer", KEYS, STAMPS)
    assert joined.column_names == ["age", "member", "joined", "recent", "orders"]
    assert joined["age"].to_pylist() == [25, 20, 25, 23, None]
    counts = [
        sum(c == key and t < stamp for c, _, t in shop.orders()) or None
        for key, stamp in zip(KEYS.to_pylist(), STAMPS.to_pylist(), strict=True)
    ]
    assert joined["orders"].to_pylist() == counts
    assert not capsys.readouterr().out
