from datetime import timedelta
from pathlib import Path

import pytest

from tests.two_tower import shop
from two_tower.data import features
from two_tower.data.repository import open_store


@pytest.fixture
def own_repo(tmp_path: Path) -> Path:
    return shop.write(tmp_path / "repo")


def test_materialised_rows_include_those_stamped_just_after_the_last_event(own_repo, pulled):
    counts = features.materialize(own_repo, pulled.bounds.as_of)
    assert counts == {"customers": 7, "activity": 6, "products": 8, "stock": 2, "seen": 6}
    store = open_store(own_repo)
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
