from dataclasses import replace

import numpy as np
import pytest

from tests.two_tower.timelines import timeline
from tests.two_tower.worlds import checkerboard, weighted
from two_tower.data.pulled import Split
from two_tower.data.seen import Interactions
from two_tower.evaluation import baselines, metrics
from two_tower.evaluation.baselines import HistoryScorer, PopularityScorer, choose, choose_popularity, ease_note, scorer
from two_tower.evaluation.ranking import Task, rank, to_micros
from two_tower.models.item_knn import ItemKnn
from two_tower.models.popularity import Popularity

NAMES = ("popularity", "item_knn", "cooccurrence", "ease")


@pytest.fixture(scope="module")
def board():
    """Fifty items, half of them of each user's liking; at the test, about 11 of these are seen."""
    pulled = checkerboard(users=60, items=50, per_user=12)
    task = Task.of(pulled)
    return pulled, task, choose(pulled, task.interactions, 60), to_micros(pulled.bounds.validation_end)


@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_keeps_the_contract_of_a_scorer(board, name):
    _, task, chosen, until = board
    model = scorer(name, chosen, task, until)
    snapshot = task.snapshots[0]
    events = task.events[task.snapshot == 0]
    scores = model.scores(events, snapshot)
    assert scores.shape == (len(events), len(snapshot.items))
    assert scores.dtype == np.float32 and scores.flags.writeable and np.isfinite(scores).all()
    order = np.argsort(task.interactions.user[events], kind="stable")
    assert np.allclose(model.scores(events[order], snapshot), scores[order], atol=1e-5), "any order of the events"
    scores[:] = -np.inf
    assert np.isfinite(model.scores(events, snapshot)).all(), "the scores are a new array"


def test_on_the_checkerboard_all_are_perfect_but_popularity(board):
    _, task, chosen, until = board
    recall = {
        name: metrics.summary(rank(task, scorer(name, chosen, task, until)).rank, task.user)["recall@20"]
        for name in chosen
    }
    assert 0.35 < recall.pop("popularity") < 0.65
    assert recall == dict.fromkeys(NAMES[1:], 1)


@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_the_scores_of_consecutive_events_are_those_of_the_whole_history(board, decay):
    pulled, task, _, until = board
    weightless = weighted(pulled, [float(row % 5 > 0) for row in range(len(pulled.interactions))])
    task = Task.of(weightless)
    popularity = PopularityScorer(Popularity(), task)
    model = HistoryScorer(ItemKnn(decay=decay).fit(task.interactions, until), popularity)
    order = task.events[np.argsort(task.user, kind="stable")]
    together = model.scores(order, task.snapshots[0])
    alone = np.concatenate([model.scores(order[n : n + 1], task.snapshots[0]) for n in range(len(order))])
    assert np.allclose(together, alone, atol=1e-5)
    log = task.interactions
    past = [r for r in range(order[-1]) if log.user[r] == log.user[order[-1]] and log.weight[r] > 0]
    weights = decay ** np.arange(len(past))[::-1]
    expected = weights @ model.model.similar.toarray()[log.item[past]]
    expected = model.model.blend(expected[None].astype(np.float32), popularity.counts[0])[0]
    assert together[-1] == pytest.approx(expected[task.snapshots[0].items], abs=1e-5)


def test_the_settings_are_chosen_on_the_validation_window_alone():
    """In the test window, users take what popularity puts last."""
    pulled = checkerboard(users=30, items=40, per_user=12)
    rows = pulled.rows(Split.TEST)
    item = pulled.interactions["item_id"].to_pylist()
    place = pulled.interactions.column_names.index("item_id")
    for row in rows:
        item[row] = "i39"
    other = replace(pulled, interactions=pulled.interactions.set_column(place, "item_id", [item]))
    descriptions = []
    for world in (pulled, other):
        chosen = choose(world, Interactions.from_pulled(world), 60)
        descriptions.append([{**choice.described(), "seconds": 0} for choice in chosen.values()])
    assert descriptions[0] == descriptions[1]


def test_the_better_value_is_chosen():
    """Users take the item of the hour, so only a short window knows it."""
    events = [(f"u{n}", f"i{n // 40}", n / 40) for n in range(40 * 80)]
    catalogue = " ".join(f"i{n}" for n in range(80))
    pulled = timeline(events, {60: catalogue, 70: catalogue, 80: catalogue}, 60, 70)
    found = choose_popularity(pulled, 100)
    assert found.tried == len(baselines.WINDOWS) and found.recall is not None
    assert choose(pulled, Interactions.from_pulled(pulled), 60)["popularity"].model.days == found.model.days


def test_without_time_each_baseline_compares_one_setting(board):
    pulled, task, _, _ = board
    chosen = choose(pulled, task.interactions, 0)
    assert {name: choice.tried for name, choice in chosen.items()} == dict.fromkeys(NAMES, 1)
    assert all(choice.recall is not None for choice in chosen.values())


def test_without_a_validation_event_the_first_settings_are_used(board):
    pulled, task, _, until = board
    rows = set(pulled.rows(Split.VALIDATION).tolist())
    silent = weighted(pulled, [float(row not in rows) for row in range(len(pulled.interactions))])
    chosen = choose(silent, Interactions.from_pulled(silent), 60)
    assert all(choice.recall is None and choice.tried == 0 for choice in chosen.values())
    assert np.isfinite(rank(task, scorer("ease", chosen, task, until)).rank).all()


def test_a_user_without_a_history_gets_popular_items(board):
    _, task, chosen, until = board
    event = task.events[:1]
    nobody = replace(task.interactions, user=np.where(np.arange(len(task.interactions.user)) == event, 59, 0))
    lonely = replace(task, interactions=nobody)
    popular = scorer("popularity", chosen, lonely, until).scores(event, lonely.snapshots[0])
    for name in NAMES[1:]:
        scores = scorer(name, chosen, lonely, until).scores(event, lonely.snapshots[0])
        assert np.array_equal(np.argsort(-scores, kind="stable"), np.argsort(-popular, kind="stable"))


def test_ease_beyond_its_memory_has_the_most_popular_items_and_a_note(board, monkeypatch):
    _, task, chosen, until = board
    assert ease_note(task.interactions, until) == ""
    monkeypatch.setattr(baselines, "available", lambda: 2 * 4 * 30**2)
    model = scorer("ease", chosen, task, until)
    assert isinstance(model, HistoryScorer) and model.model.weights.shape == (30, 30)
    note = ease_note(task.interactions, until)
    assert note.startswith("ease scores the 30 most popular of 50 items, which have ") and "% of the positives" in note
    assert np.isfinite(rank(task, model).rank).all()
