import numpy as np
import pytest
from scipy import sparse

from tests.two_tower.models.worlds import EVENTS, by_name, history, interactions, micros
from two_tower.models.cooccurrence import Cooccurrence
from two_tower.models.ease import Ease
from two_tower.models.item_knn import ItemKnn
from two_tower.models.model import incidence, positives
from two_tower.models.popularity import Popularity

MODELS = {"popularity": Popularity(), "item_knn": ItemKnn(), "cooccurrence": Cooccurrence(), "ease": Ease()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("before", [9, 0], ids=["interactions", "no interactions"])
def test_every_model_keeps_the_interface(name, before):
    log = interactions(EVENTS)
    fitted = MODELS[name].fit(log, micros(before))
    assert type(fitted) is type(MODELS[name]) and fitted is not MODELS[name]
    histories = sparse.vstack([history(log, "a"), history(log), history(log, "a", "d")]).tocsr()
    scores = fitted.score(histories)
    assert scores.shape == (3, len(log.items)) and scores.dtype == np.float32 and np.isfinite(scores).all()
    expected = scores.copy()
    scores[:] = -np.inf
    assert np.array_equal(fitted.score(histories), expected), "the scores are a new array"


@pytest.mark.parametrize("name", [name for name in MODELS if name != "popularity"])
def test_a_model_learns_before_the_instant_and_from_positives_only(name):
    early = interactions(EVENTS[:6])
    late = interactions([*EVENTS[:6], ("y", "a", 4), ("y", "d", 5)], weights=[1.0] * 6 + [1.0, 0.0])
    model = MODELS[name]
    expected = model.fit(early, micros(9)).score(history(early, "a"))[0]
    same = model.fit(late, micros(4)).score(history(late, "a"))[0]
    assert by_name(late, same) == pytest.approx(by_name(early, expected))
    with_y = by_name(late, model.fit(late, micros(9)).score(history(late, "a"))[0])
    assert with_y["d"] == 0, "y has seen d, with weight 0"


def test_popularity_orders_the_items_without_another_score():
    model = ItemKnn()
    scores = model.blend(np.array([[0.0, 2, 0, 4], [0, 0, 0, 0]], np.float32), np.array([1.0, 0, 2, 0], np.float32))
    assert scores[0].argsort().tolist() == [0, 2, 1, 3] and scores[1].argsort()[-2:].tolist() == [0, 2]
    assert scores[0] == pytest.approx([0.0005, 0.5, 0.001, 1])


def test_without_popularity_the_scores_stay_finite():
    assert np.isfinite(Ease().blend(np.zeros((2, 3), np.float32), np.zeros(3, np.float32))).all()


def test_positives_and_their_matrix():
    log = interactions([("u", "a", 0), ("u", "a", 1), ("v", "b", 2), ("v", "a", 3)], weights=[1.0, 1.0, 0.0, 2.0])
    user, item = positives(log, micros(9))
    assert [log.users[u].as_py() for u in user] == ["u", "v"] and log.items.take(item).to_pylist() == ["a", "a"]
    assert incidence(np.r_[user, user], np.r_[item, item], (2, 4)).toarray().sum() == 2
