from dataclasses import dataclass

import numpy as np
import pytest

from tests.two_tower.timelines import timeline
from two_tower.errors import InputError
from two_tower.evaluation import ranking
from two_tower.evaluation.ranking import Task, rank


@dataclass
class Alphabet:
    """Prefers the items in alphabetical order; records its calls."""

    task: Task
    calls: list

    def scores(self, events, snapshot):
        self.calls.append((events, snapshot))
        names = self.task.interactions.items.take(snapshot.items).to_pylist()
        return np.tile(np.array([-ord(n) for n in names], dtype=np.float32), (len(events), 1))


def ranked(events, catalogues, train_end=1.0, validation_end=2.0):
    task = Task.of(timeline(events, catalogues, train_end, validation_end))
    scorer = Alphabet(task, [])
    return task, rank(task, scorer), scorer.calls


def test_each_event_meets_the_newest_snapshot_at_its_time():
    events = [("u", "d", 0), ("v", "c", 2.0), ("v", "d", 4.9), ("w", "d", 5.0), ("w", "c", 9.0)]
    task, ranking, calls = ranked(events, {1: "a d", 2: "b c d", 5: "c d", 9: "a b c d"})
    assert [s.micros for s in task.snapshots] == [1_704_074_400_000_000 + 3_600_000_000 * h for h in (0, 3, 7)]
    assert task.snapshot.tolist() == [0, 0, 1, 2]
    # b before c; b before d, c seen; c before d; a and b before c, d seen.
    assert ranking.rank.tolist() == [1, 1, 1, 2]
    assert [len(e) for e, _ in calls] == [2, 1, 1]


def test_an_event_on_a_seen_item_is_left_out_and_counted():
    task, ranking, _ = ranked([("u", "a", 0), ("u", "a", 3), ("u", "b", 3)], {1: "", 2: "a b", 9: "a b"})
    assert task.left_out == 1
    assert task.events.tolist() == [2]
    assert ranking.rank.tolist() == [0], "a is seen, so b is first"


def test_an_event_of_weight_0_is_left_out_and_its_item_is_seen():
    events = [("u", "a", 3), ("u", "b", 4), ("v", "a", 5)]
    task = Task.of(timeline(events, {1: "", 2: "a b", 9: "a b"}, 1, 2, weights=[0.0, 1.0, 0.5]))
    assert task.events.tolist() == [1, 2] and task.left_out == 1
    assert rank(task, Alphabet(task, [])).rank.tolist() == [0, 0], "u has seen a, so b is first"


def test_a_test_window_of_weight_0_is_an_error():
    window = timeline([("u", "a", 0), ("u", "b", 3)], {1: "", 2: "a b", 9: "a b"}, 1, 2, weights=[1.0, 0.0])
    with pytest.raises(InputError, match="1 interactions, each of weight 0 or on an item"):
        Task.of(window)


def test_an_item_that_the_index_does_not_hold_is_a_miss():
    _, ranking, _ = ranked([("u", "a", 0), ("v", "b", 3)], {1: "a", 2: "a", 9: "a b"})
    assert ranking.rank.tolist() == [np.inf]


def test_items_of_the_same_instant_stay_candidates():
    _, ranking, _ = ranked([("u", "a", 3), ("u", "b", 3)], {1: "a b", 2: "a b", 9: "a b"})
    assert ranking.rank.tolist() == [0, 1]


def test_blocks_do_not_change_the_ranks(monkeypatch):
    random = np.random.default_rng(0)
    events = sorted(
        ((f"u{random.integers(9)}", chr(97 + random.integers(26)), h / 20) for h in range(200)), key=lambda e: e[2]
    )
    catalogues = {1: "a b", 2: "a b c d e f g h k m", 6: " ".join(map(chr, range(97, 123))), 10: "a"}
    _, whole, _ = ranked(events, catalogues)
    monkeypatch.setattr(ranking, "BLOCK", 50)
    _, parts, calls = ranked(events, catalogues)
    assert len(calls) > 10
    assert parts.rank.tolist() == whole.rank.tolist()
    assert parts.coverage == whole.coverage


def test_coverage_is_of_each_users_last_list():
    items = [f"{c}" for c in "abcdefghijklmnopqrstuvwxyz"]
    # u has seen a and b at the last event: 20 of c to z less what is beyond v; v gets a to t.
    events = [("u", "a", 0), ("u", "b", 3), ("u", "c", 4), ("v", "c", 5)]
    _, ranking, _ = ranked(events, {1: "", 2: " ".join(items), 9: ""})
    assert ranking.coverage == 22 / 26


def test_a_window_without_an_event_to_rank_is_refused():
    with pytest.raises(InputError, match="1 interactions, each of weight 0 or on an item"):
        ranked([("u", "a", 0), ("u", "a", 3)], {1: "a", 2: "a", 9: "a"})
