"""The simulated world: what its oracle knows, and what its tables may not give away."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from two_tower.datasets import preferences, sample, world
from two_tower.datasets.preferences import Oracle
from two_tower.datasets.tables import Tables


@pytest.fixture(scope="module")
def tables() -> Tables:
    return sample.load(seed=0)


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return sample.oracle(seed=0)


def column(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy(zero_copy_only=False)


def seconds(table: pa.Table) -> np.ndarray:
    return table["event_timestamp"].cast(pa.int64()).to_numpy() // 1_000_000


def test_size_and_skew(tables: Tables) -> None:
    assert tables.items.num_rows == 2_000
    assert len(set(column(tables.users, "user_id"))) == 3_000
    assert 200_000 < tables.interactions.num_rows < 280_000
    counts = np.sort(np.unique(column(tables.interactions, "item_id"), return_counts=True)[1])[::-1]
    assert counts[:400].sum() > 0.4 * counts.sum()


def test_nobody_takes_an_item_twice_or_before_it_exists(tables: Tables) -> None:
    events = tables.interactions
    pairs = set(zip(column(events, "user_id"), column(events, "item_id"), strict=True))
    assert len(pairs) == events.num_rows
    for side, key in (("users", "user_id"), ("items", "item_id")):
        born: dict[str, int] = {}
        rows = getattr(tables, side)
        for name, second in zip(column(rows, key), seconds(rows), strict=True):
            born[name] = min(second, born.get(name, second))
        there = np.array([born[name] for name in column(events, key)])
        assert (there <= seconds(events)).all()


def test_there_are_cold_users_and_cold_items(tables: Tables) -> None:
    """In the last tenth of the events some users and some items appear for the first time."""
    events, cut = tables.interactions, int(0.9 * tables.interactions.num_rows)
    for key in ("user_id", "item_id"):
        names = column(events, key)
        assert len(set(names[cut:]) - set(names[:cut])) > 10


def test_the_same_seed_gives_the_same_world(tables: Tables) -> None:
    assert sample.load(seed=0) == tables


def recall(scores: np.ndarray, target: np.ndarray, k: int = 20) -> float:
    return float((np.sum(scores > scores[np.arange(len(target)), target][:, None], axis=1) < k).mean())


def test_the_oracle_is_far_above_popularity_and_not_perfect(tables: Tables, oracle: Oracle) -> None:
    events, cut = tables.interactions, int(0.9 * tables.interactions.num_rows)
    user, item, when = (column(events, "user_id"), preferences.numbers(column(events, "item_id")), seconds(events))
    every = column(tables.items, "item_id")
    taken = np.zeros((world.USERS, world.ITEMS), bool)
    taken[preferences.numbers(user[:cut]), item[:cut]] = True
    test = slice(cut, cut + 4_000)
    popularity = np.tile(np.bincount(item[:cut], minlength=world.ITEMS).astype(float), (4_000, 1))
    truth = oracle.scores(user[test], every, when[test]).astype(float)
    truth[taken[preferences.numbers(user[test])]] = popularity[taken[preferences.numbers(user[test])]] = -np.inf
    assert 0.4 < recall(truth, item[test]) < 0.7
    assert recall(popularity, item[test]) < 0.3 * recall(truth, item[test])


def test_what_is_taken_follows_the_true_preferences(tables: Tables, oracle: Oracle) -> None:
    """The share of events among a user's ten truest items equals their probability under the oracle."""
    events = tables.interactions.slice(0, 3_000)  # the first days: nothing has been taken yet
    first = np.unique(column(events, "user_id"), return_index=True)[1]
    user, when = column(events, "user_id")[first], seconds(events)[first]
    scores = oracle.scores(user, column(tables.items, "item_id"), when).astype(float)
    scores[oracle.listed[None, :] >= ((when - preferences.START) // preferences.DAY)[:, None]] = -np.inf
    chance = np.exp(scores - scores.max(axis=1, keepdims=True))
    chance /= chance.sum(axis=1, keepdims=True)
    best = np.argsort(-scores, axis=1)[:, :10]
    expected = np.take_along_axis(chance, best, axis=1).sum(axis=1).mean()
    taken = preferences.numbers(column(events, "item_id")[first])
    assert (best == taken[:, None]).any(axis=1).mean() == pytest.approx(expected, abs=0.04)


def test_oracle_survives_a_trip_through_a_folder(oracle: Oracle, tmp_path: Path) -> None:
    oracle.write(tmp_path)
    question = (
        ["u00007", "u00003"],
        ["i00001", "i00999", "i00004"],
        np.array([preferences.START, preferences.START + 50 * preferences.DAY]),
    )
    scores = Oracle.read(tmp_path).scores(*question)
    assert scores.shape == (2, 3) and scores.dtype == np.float32
    np.testing.assert_array_equal(scores, oracle.scores(*question))
