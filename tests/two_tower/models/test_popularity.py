from tests.two_tower.models.worlds import EVENTS, by_name, history, interactions, micros
from two_tower.models.popularity import Popularity


def counts(days: float, hour: float, weights: list[float] | None = None) -> dict[str, float]:
    log = interactions(EVENTS, weights)
    return by_name(log, Popularity(days=days).fit(log, micros(hour)).score(history(log))[0])


def test_it_counts_the_events_before_the_instant():
    assert counts(30, 2) == {"a": 3, "b": 2, "c": 1, "d": 0}
    assert counts(30, 5) == {"a": 4, "b": 2, "c": 2, "d": 0}


def test_it_ignores_events_before_its_window():
    assert counts(2.2 / 24, 5) == {"a": 0, "b": 0, "c": 1, "d": 0}, "the one event of the hours 2.8 to 5"


def test_a_window_of_0_days_has_no_start():
    assert counts(0, 9) == {"a": 4, "b": 2, "c": 3, "d": 0}


def test_events_of_weight_0_do_not_count():
    assert counts(30, 2, [0.0, *[1.0] * 8]) == {"a": 2, "b": 2, "c": 1, "d": 0}
