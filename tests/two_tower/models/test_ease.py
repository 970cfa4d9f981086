import tracemalloc

import numpy as np
import pytest

from tests.two_tower.models.worlds import by_name, history, micros, random_log
from two_tower.models import ease
from two_tower.models.ease import Ease
from two_tower.models.model import incidence, positives


def test_the_weights_solve_the_regression_of_each_item_on_all_others(monkeypatch):
    monkeypatch.setattr(ease, "BLOCK", 7)
    log = random_log(users=80, items=30, events=900)
    model = Ease(ridge=0.5).fit(log, micros(9))
    assert model.items is not None and model.weights is not None
    matrix = (
        incidence(*positives(log, micros(9)), (len(log.users), len(log.items))).toarray()[:, model.items].astype(float)
    )
    ridge = 0.5 * matrix.sum(axis=0).mean()
    for j in range(len(model.items)):
        others = np.delete(np.arange(len(model.items)), j)
        x = matrix[:, others]
        solved = np.linalg.solve(x.T @ x + ridge * np.eye(len(others)), x.T @ matrix[:, j])
        assert model.weights[others, j] == pytest.approx(solved, abs=1e-4) and model.weights[j, j] == 0


def test_items_outside_the_most_popular_have_no_score():
    log = random_log(users=80, items=30, events=900)
    whole, part = Ease().fit(log, micros(9)), Ease(most=5).fit(log, micros(9))
    popular = log.items.take(part.items).to_pylist()
    assert list(part.items) == list(whole.items[:5])
    scores = by_name(log, part.score(history(log, *popular[:2]))[0])
    assert {name for name, score in scores.items() if score != 0} <= set(popular)
    assert part.score(history(log, log.items[int(whole.items[-1])].as_py())).tolist() == [[0] * len(log.items)]


def test_the_fit_holds_one_matrix(monkeypatch):
    monkeypatch.setattr(ease, "BLOCK", 50)
    log = random_log(users=500, items=1500, events=8000)
    Ease().fit(log, micros(9))  # caches of the log
    tracemalloc.start()
    model = Ease().fit(log, micros(9))
    assert tracemalloc.get_traced_memory()[1] < 1.9 * model.weights.nbytes
    tracemalloc.stop()
