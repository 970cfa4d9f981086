import pytest

from tests.two_tower.models.worlds import by_name, history, interactions, micros
from two_tower.models import cooccurrence
from two_tower.models.cooccurrence import Cooccurrence

EVENTS = [("u", "a", 0), ("v", "b", 0.1), ("u", "b", 0.2), ("u", "c", 0.3), ("v", "d", 0.4), ("u", "d", 0.5)]
# In order: u has a, b, c, d; v has b, d.


def scores(reach: int, power: float, *items: str) -> dict[str, float]:
    log = interactions(EVENTS)
    return by_name(
        log, Cooccurrence(reach=reach, popularity_power=power).fit(log, micros(9)).score(history(log, *items))[0]
    )


def test_neighbours_in_the_histories_count_by_distance():
    assert scores(1, 0, "b") == {"a": 1, "b": 0, "c": 1, "d": 1}
    assert scores(2, 0, "b") == {"a": 1, "b": 0, "c": 1, "d": 1.5}
    assert scores(3, 0, "a", "b") == pytest.approx({"a": 1, "b": 1, "c": 1.5, "d": 1.5 + 1 / 3})


def test_the_counts_of_popular_items_are_divided():
    assert scores(1, 1, "b") == {"a": 1, "b": 0, "c": 1, "d": 0.5}


def test_a_log_with_too_many_pairs_has_a_shorter_reach(monkeypatch):
    monkeypatch.setattr(cooccurrence, "PAIRS", 12)  # six positives twice
    assert scores(9, 0, "a", "b")["d"] == scores(2, 0, "a", "b")["d"] == 1.5
