import time
import tracemalloc

import numpy as np
import pytest

from tests.two_tower.models.worlds import EVENTS, by_name, code, history, interactions, micros, random_log
from two_tower.models import item_knn
from two_tower.models.item_knn import ItemKnn


def test_by_hand():
    log = interactions(EVENTS)
    model = ItemKnn().fit(log, micros(2))
    # Sets of users: a = {u, v, w}, b = {u, v}, c = {w}.
    ab, ac = 2 / (np.sqrt(6) + 10), 1 / (np.sqrt(3) + 10)
    assert by_name(log, model.score(history(log, "a"))[0]) == pytest.approx({"a": 0, "b": ab, "c": ac, "d": 0})
    assert by_name(log, model.score(history(log, "a", "b"))[0]) == pytest.approx({"a": ab, "b": ab, "c": ac, "d": 0})


def test_users_with_many_items_count_less():
    log = interactions(EVENTS)
    model = ItemKnn(user_power=1, shrinkage=0).fit(log, micros(9))
    # Items of the users: u 3, v 2, w 2, x 2. The unit of the weights cancels without shrinkage.
    a, b = 1 / 3 + 1 / 2 + 1 / 2 + 1 / 2, 1 / 3 + 1 / 2
    assert model.score(history(log, "a"))[0][code(log, "b")] == pytest.approx(b / np.sqrt(a * b))


def test_only_the_nearest_neighbours_of_a_scored_item_count(monkeypatch):
    log = random_log(users=60, items=50, events=600)
    whole = ItemKnn(neighbours=1000).fit(log, micros(9)).similar.toarray()
    monkeypatch.setattr(item_knn, "BLOCK", 1000)  # a few rows at a time
    kept = ItemKnn(neighbours=3).fit(log, micros(9)).similar.toarray()
    third = np.sort(whole, axis=0)[-3]
    assert np.array_equal(kept, np.where(whole >= third, whole, 0)) and np.count_nonzero(kept) < np.count_nonzero(whole)


def test_a_similarity_that_rests_on_few_users_is_shrunk():
    """Items a and b have twelve common users of thirteen, c and d have one of one."""
    events = [(f"u{n}", item, n / 100) for n in range(12) for item in "ab"]
    events += [("v", "a", 0.5), ("w", "b", 0.5), ("x", "c", 0.6), ("x", "d", 0.7), ("y", "a", 3)]
    log = interactions(sorted(events, key=lambda e: e[2]))
    similar = ItemKnn().fit(log, micros(2)).similar.toarray()
    assert similar[code(log, "a"), code(log, "b")] > 3 * similar[code(log, "c"), code(log, "d")] > 0


def test_many_items_take_little_memory():
    """Of 20,000 items, a matrix of all pairs would need 1.6 GB."""
    log = random_log(users=3000, items=20_000, events=15_000)
    tracemalloc.start()
    began = time.monotonic()
    model = ItemKnn(neighbours=50).fit(log, micros(100))
    assert tracemalloc.get_traced_memory()[1] < 200e6 and time.monotonic() - began < 60
    tracemalloc.stop()
    assert 0 < np.diff(model.similar.tocsc().indptr).max() < 300, "50 neighbours, and those tied with the last"
