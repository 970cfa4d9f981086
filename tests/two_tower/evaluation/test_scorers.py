import numpy as np
import pytest

from tests.two_tower.timelines import lookup_towers, timeline
from two_tower.datasets.world import Oracle
from two_tower.errors import InputError
from two_tower.evaluation.ranking import Task
from two_tower.evaluation.scorers import OracleScorer, TowerScorer, compare

ITEMS = {"a": [1.0], "b": [2.0], "c": [4.0]}
EVENTS = [("u", "a", 0), ("v", "b", 0.5), ("u", "c", 3), ("v", "c", 6)]


@pytest.fixture
def pulled():
    return timeline(EVENTS, {1: "a b", 2: "a b c", 5: "c b", 9: "a b c"}, 1, 2)


@pytest.mark.parametrize(
    ("similarity", "first", "second"), [("dot", [2, 4, 8], [12, 6]), ("euclidean", [1.5, 2, 0], [4, 4])]
)
def test_towers_score_the_items_of_a_snapshot_by_their_own_similarity(pulled, tmp_path, similarity, first, second):
    task = Task.of(pulled)
    towers = lookup_towers(tmp_path, {"u": [2.0], "v": [3.0]}, ITEMS, similarity)
    scorer = TowerScorer.open(towers, pulled.contract, pulled, task)
    assert [s.table["item_id"].to_pylist() for s in task.snapshots] == [["a", "b", "c"], ["c", "b"]]
    scores = [scorer.scores(task.events[[n]], snapshot) for n, snapshot in enumerate(task.snapshots)]
    assert [s.tolist() for s in scores] == [[first], [second]]
    assert all(s.dtype == np.float32 for s in scores)


@pytest.mark.parametrize(("user", "item", "file"), [(np.nan, 1.0, "user_tower"), (1.0, np.inf, "item_tower")])
def test_a_tower_that_returns_nan_or_infinite_values_is_named(pulled, tmp_path, user, item, file):
    towers = lookup_towers(tmp_path, {"u": [user], "v": [1.0]}, ITEMS | {"b": [item]})
    with pytest.raises(InputError, match=rf"{file}\.onnx returns NaN or infinite values for 1 of"):
        TowerScorer.open(towers, pulled.contract, pulled, Task.of(pulled))


def test_euclidean_scores_order_by_distance():
    random = np.random.default_rng(0)
    user, item = random.normal(size=(5, 8)).astype(np.float32), random.normal(size=(30, 8)).astype(np.float32)
    distance = np.linalg.norm(user[:, None] - item, axis=2)
    assert np.array_equal(np.argsort(-compare(user, item, "euclidean")), np.argsort(distance))


def test_the_oracle_scores_by_the_preferences_of_its_world(tmp_path):
    zeros = {"swapped_on": np.zeros(2), "signed_up": np.zeros(2), "novelty_wanted": np.zeros(2), "listed": np.zeros(3)}
    wants, has, flat = np.array([[1.0], [-1.0]]), np.arange(3.0)[:, None], np.zeros(3)
    oracle = Oracle(wants=wants, wants_later=wants, has=has, popularity=flat, swing=flat, phase=flat, **zeros)
    oracle.write(tmp_path / "oracle")
    events = [("u00000", "i00000", 0), ("u00001", "i00001", 0.5), ("u00000", "i00002", 3), ("u00001", "i00002", 4)]
    catalogue = "i00002 i00000 i00001"
    task = Task.of(timeline(events, {1: catalogue, 2: catalogue, 9: catalogue}, 1, 2))
    scores = OracleScorer.open(tmp_path / "oracle", task).scores(task.events, task.snapshots[0])
    assert np.argsort(-scores, axis=1).tolist() == [[0, 2, 1], [1, 2, 0]]
