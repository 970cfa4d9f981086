from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.two_tower.timelines import at, timeline
from two_tower.data.pulled import Bounds
from two_tower.data.seen import Interactions, known_until


def interactions(*events: tuple[str, str, float]) -> Interactions:
    return Interactions.from_pulled(timeline(list(events), {1: "", 2: "", 100: "a b c d z"}, 1, 2))


def seen_by_event(log: Interactions, since=None) -> list[set[str]]:
    events = np.arange(len(log.user))
    position, item = log.seen(events, since)
    keys = log.items.to_pylist()
    assert len(set(zip(position.tolist(), item.tolist(), strict=True))) == len(position), "each pair once"
    return [{keys[i] for i in item[position == e]} for e in events]


def test_seen_is_what_was_taken_at_a_strictly_earlier_time():
    log = interactions(("u", "a", 0), ("v", "b", 0), ("u", "c", 1), ("u", "d", 1), ("u", "a", 2))
    assert seen_by_event(log) == [set(), set(), {"a"}, {"a"}, {"a", "c", "d"}]


def test_a_microsecond_earlier_is_earlier():
    log = interactions(("u", "a", 0), ("u", "b", 1 / 3600e6))
    assert seen_by_event(log) == [set(), {"a"}]


def test_a_repeat_at_a_later_time_is_repeated_and_one_at_the_same_time_is_not():
    log = interactions(("u", "a", 0), ("u", "a", 0), ("v", "a", 1), ("u", "a", 1))
    assert log.repeated.tolist() == [False, False, False, True]


def test_since_leaves_out_what_was_taken_before():
    log = interactions(("u", "a", 0), ("u", "b", 1), ("u", "a", 2), ("u", "c", 3))
    since = np.full(4, log.micros[1])
    assert seen_by_event(log, since) == [set(), set(), {"b"}, {"b"}]


def test_without_times_all_items_of_the_training_rows_are_known_in_training():
    log = interactions(("u", "a", 0), ("u", "b", 0), ("v", "c", 0), ("u", "d", 1))
    of_pull = Bounds(train_end=at(1), validation_end=at(2), as_of=at(2), snapshots=(at(1), at(2)))
    for split, counts in (("time", [0, 0, 0, 2]), ("per_user", [2, 2, 1, 2])):
        until = known_until(log.micros, replace(of_pull, split=split))
        assert log.spans(np.arange(4), until=until)[1].tolist() == counts


def test_items_of_the_catalogue_alone_have_a_code():
    assert "z" in interactions(("u", "a", 0)).items.to_pylist()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("uv"), st.sampled_from("abcd"), st.integers(0, 5)), min_size=1))
def test_it_agrees_with_a_plain_loop(events):
    events = sorted(events, key=lambda e: e[2])
    log = interactions(*events)
    earlier = [{i for u, i, h in events if u == user and h < hour} for user, _, hour in events]
    assert seen_by_event(log) == earlier
    assert log.repeated.tolist() == [item in s for (_, item, _), s in zip(events, earlier, strict=True)]


def test_times_are_in_microseconds():
    assert interactions(("u", "a", 3)).micros.tolist() == [pytest.approx(at(3).timestamp() * 1e6)]
