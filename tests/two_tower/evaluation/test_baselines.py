from datetime import timedelta

import numpy as np
import pytest

from tests.two_tower.timelines import at, timeline
from tests.two_tower.worlds import checkerboard
from two_tower.evaluation import baselines, metrics
from two_tower.evaluation.baselines import ItemKnn, Popularity
from two_tower.evaluation.ranking import Task, rank, to_micros

MODELS = {
    "popularity": lambda task, _before: Popularity.fit(task),
    "item_knn": ItemKnn.fit,
}


@pytest.fixture(scope="module")
def board():
    """Fifty items, half of them of each user's liking; at the test, about 11 of these are seen."""
    pulled = checkerboard(users=60, items=50, per_user=12)
    return Task.of(pulled), to_micros(pulled.bounds.validation_end)


@pytest.mark.parametrize("name", MODELS)
def test_every_baseline_keeps_the_contract_of_a_scorer(board, name):
    task, before = board
    model = MODELS[name](task, before)
    snapshot = task.snapshots[0]
    events = task.events[task.snapshot == 0]
    scores = model.scores(events, snapshot)
    assert scores.shape == (len(events), len(snapshot.items))
    assert scores.dtype == np.float32 and scores.flags.writeable and np.isfinite(scores).all()
    order = np.argsort(task.interactions.user[events], kind="stable")
    assert np.allclose(model.scores(events[order], snapshot), scores[order], atol=1e-5), "the order is of no account"
    scores[:] = -np.inf
    assert np.isfinite(model.scores(events, snapshot)).all(), "writing to the scores leaves the model whole"


def test_on_the_checkerboard_item_knn_is_perfect_and_popularity_guesses(board):
    task, before = board
    recall = {
        name: metrics.summary(rank(task, fit(task, before)).rank, task.user)["recall@20"]
        for name, fit in MODELS.items()
    }
    assert recall["item_knn"] == 1
    assert 0.35 < recall["popularity"] < 0.65


def counted():
    events = [
        *[("u", "a", 0), ("v", "a", 0.1), ("w", "a", 0.2), ("u", "b", 0.3), ("v", "b", 0.4), ("w", "c", 0.5)],
        *[("x", "a", 2.5), ("x", "c", 3), ("u", "c", 6)],
    ]
    pulled = timeline(events, {1: "", 2: "a b c d", 5: "d c b a", 9: ""}, 1, 2)
    return Task.of(pulled)


def test_popularity_counts_the_events_before_the_snapshot():
    task = counted()
    first, second = Popularity.fit(task).counts
    assert first.tolist() == [3, 2, 1, 0]
    assert second.tolist() == [0, 2, 2, 4], "in the order of that snapshot's items"


def test_popularity_ignores_events_before_its_window(monkeypatch):
    task = counted()
    monkeypatch.setattr(baselines, "POPULARITY_WINDOW", timedelta(hours=2.2))
    assert Popularity.fit(task).counts[1].tolist() == [0, 1, 0, 0], "of the one event of the hours 2.8 to 5"


def test_item_knn_by_hand():
    task = counted()
    model = ItemKnn.fit(task, to_micros(at(2)))
    # Sets of users: a = {u, v, w}, b = {u, v}, c = {w}. The user x has seen a; u has seen a and b.
    ab, ac = 2 / (np.sqrt(6) + baselines.SHRINKAGE), 1 / (np.sqrt(3) + baselines.SHRINKAGE)
    event_of_x, event_of_u = task.events[task.snapshot == 0][1:], task.events[task.snapshot == 1]
    assert model.scores(event_of_x, task.snapshots[0])[0] == pytest.approx([0, ab, ac, 0])
    assert model.scores(event_of_u, task.snapshots[1])[0] == pytest.approx([0, ac, ab, ab])


def test_item_knn_ignores_events_after_its_fit():
    task = counted()
    late = ItemKnn.fit(task, to_micros(at(9)))
    early = ItemKnn.fit(task, to_micros(at(2)))
    assert late.similar.sum() > early.similar.sum()


def test_item_knn_keeps_the_nearest_neighbours_only(monkeypatch, board):
    task, before = board
    whole = ItemKnn.fit(task, before).similar.toarray()
    monkeypatch.setattr(baselines, "NEIGHBOURS", 3)
    monkeypatch.setattr(baselines, "BLOCK", 1000)  # a few rows at a time
    kept = ItemKnn.fit(task, before).similar.toarray()
    third = np.sort(whole, axis=0)[-3]  # of each item's own neighbours, whatever it is a neighbour to
    assert np.array_equal(kept, np.where(whole >= third, whole, 0))


def test_item_knn_trusts_a_similarity_less_that_rests_on_few_users():
    """Items a and b have twelve common users of thirteen, c and d have one of one."""
    events = [(f"u{n}", item, n / 100) for n in range(12) for item in "ab"]
    events += [("v", "a", 0.5), ("w", "b", 0.5), ("x", "c", 0.6), ("x", "d", 0.7), ("y", "a", 3)]
    task = Task.of(timeline(sorted(events, key=lambda e: e[2]), {1: "a b c d", 2: "a b c d", 9: "a b c d"}, 1, 2))
    similar = ItemKnn.fit(task, to_micros(at(2))).similar.toarray()
    a, b, c, d = (task.interactions.items.to_pylist().index(item) for item in "abcd")
    assert similar[a, b] > 3 * similar[c, d] > 0


def test_the_similarities_of_many_items_are_sparse():
    """Of 200,000 items, a matrix of all pairs would need 160 GB."""
    rng, items = np.random.default_rng(0), 200_000
    matrix = baselines._ones(rng.integers(0, 1000, 3000), rng.integers(0, items, 3000), (1000, items)).tocsc()
    assert baselines._nearest(matrix, 0, items).nnz < 20_000
