import json

import numpy as np
import pytest

from tests.two_tower.timelines import lookup_towers, timeline
from two_tower.config import EvaluationConfig
from two_tower.data.pulled import Pulled
from two_tower.datasets.preferences import Oracle
from two_tower.errors import InputError
from two_tower.evaluation.evaluate import CURVE_AT, Report, evaluate

BASELINES = ("popularity", "item_knn", "cooccurrence", "ease")  # for a user without a history, all are popularity
CONFIG = EvaluationConfig(bootstrap_samples=50)
ITEMS = [f"{c}{d}" for c in "abcde" for d in range(10)]  # fifty; a0 to a9 are taken in training, the more the lower
TRAINING = [(f"u{n}", f"a{n // 2}", n / 100) for n in range(20)] + [(f"u{n}", "a0", 0.5 + n / 100) for n in range(2, 9)]
TEST = [
    ("u1", "a1", 3),  # a head item (10 items have training events, so that the head is a0 and a1)
    ("u1", "e9", 4),  # a cold item
    ("u5", "a0", 5),  # already seen
    ("new", "a1", 6),  # a cold user
    ("u2", "zz", 7),  # not in the index
]


@pytest.fixture
def pulled() -> Pulled:
    everything = " ".join(ITEMS)
    return timeline(TRAINING + TEST, {1: everything, 2: everything, 9: everything}, 1, 2)


@pytest.fixture
def towers(tmp_path):
    """Towers that rank the items backwards from e9 for every user."""
    users = {u: [1.0] for u, _, _ in TRAINING + TEST}
    return lookup_towers(tmp_path / "towers", users, {name: [float(n)] for n, name in enumerate(ITEMS)})


def test_a_report_counted_by_hand(pulled, towers):
    report = evaluate(pulled, towers, None, CONFIG)
    # Places: a1 49th of 50, also for u1, whose seen a0 is behind it; e9 first.
    assert report.counts == {"events": 4, "users": 3, "items": 50, "left_out": 1, "not_in_index": 1}
    assert list(report.metrics) == ["two_tower", *BASELINES]
    own = report.metrics["two_tower"]
    assert own["recall@20"] == pytest.approx((1 / 2 + 0 + 0) / 3)
    assert own["recall@100"] == pytest.approx((1 + 0 + 1) / 3)
    assert own["mrr@100"] == pytest.approx(((1 / 49 + 1) / 2 + 0 + 1 / 49) / 3)
    assert own["coverage@20"] == 20 / 50
    assert own["recall@20_low"] <= own["recall@20"] <= own["recall@20_high"]
    assert report.metrics["popularity"]["recall@20"] == pytest.approx((1 / 2 + 0 + 1) / 3)


def test_the_curve_and_the_exposure_counted_by_hand(pulled, towers):
    report = evaluate(pulled, towers, None, CONFIG)
    own = dict(zip(CURVE_AT, report.curve["two_tower"], strict=True))
    assert own[20] == report.metrics["two_tower"]["recall@20"]
    assert own[100] == report.metrics["two_tower"]["recall@100"] > own[20]
    assert own[1] == pytest.approx(1 / 2 / 3), "e9 comes first"
    # Of three users' first 20, all from e9 down to c0: the last 40 of 50 items, of which bands hold 5 each.
    assert report.exposure["two_tower"][:2] == [0, 0]
    assert sum(report.exposure["two_tower"]) == pytest.approx(1)
    assert sum(report.exposure["popularity"]) == pytest.approx(1)
    assert report.exposure["test_events"][0] == pytest.approx(2 / 3), "a1 twice; e9 is among the last"


def test_slices_counted_by_hand(pulled, towers):
    slices = evaluate(pulled, towers, None, CONFIG).slices
    assert {name: (s["events"], s["users"]) for name, s in slices.items()} == {
        "cold_users": (1, 1),
        "cold_items": (2, 2),
        "tail_items": (2, 2),
    }
    assert slices["cold_users"]["recall@20"] == {"two_tower": 0} | dict.fromkeys(BASELINES, 1)
    assert slices["cold_items"]["recall@20"]["two_tower"] == 0.5


def test_a_slice_without_events_has_no_figure(towers):
    everything = " ".join(ITEMS)
    pulled = timeline([*TRAINING, ("u1", "a1", 3)], {1: everything, 2: everything, 9: everything}, 1, 2)
    report = evaluate(pulled, towers, None, CONFIG)
    assert report.slices["cold_users"] == {
        "events": 0,
        "users": 0,
        "recall@20": dict.fromkeys(("two_tower", *BASELINES)),
    }


def test_a_report_survives_the_disk(pulled, towers, tmp_path):
    report = evaluate(pulled, towers, None, CONFIG)
    report.write(tmp_path / "report.json")
    assert Report.read(tmp_path / "report.json") == report
    assert "Infinity" not in (tmp_path / "report.json").read_text()
    assert json.loads((tmp_path / "report.json").read_text())["per_user"]["two_tower"] == [0.5, 0, 0]


def test_the_same_events_have_the_same_fingerprint_and_others_another(pulled, towers):
    fewer = Pulled(
        pulled.contract,
        pulled.bounds,
        *(t.slice(0, t.num_rows - 1) for t in (pulled.interactions, pulled.user, pulled.item)),
        pulled.catalogue,
    )
    first, again, other = (evaluate(p, towers, None, CONFIG).events for p in (pulled, pulled, fewer))
    assert first == again != other


def test_a_tower_that_returns_nan_is_named(pulled, tmp_path):
    towers = lookup_towers(tmp_path, {"u1": [np.nan], "u2": [1.0]}, {"a1": [1.0]})
    with pytest.raises(InputError, match=r"user_tower\.onnx returns NaN or infinite values for 2 of 4 rows"):
        evaluate(pulled, towers, None, CONFIG)


def test_the_oracle_is_ranked_like_the_others(tmp_path, towers):
    """The world of the oracle has the items i00000 to i00003; its users prefer the later ones."""
    oracle = _oracle()
    oracle.write(tmp_path / "oracle")
    items = "i00000 i00001 i00002 i00003"
    events = [("u00000", "i00003", 0), ("u00001", "i00000", 0.5), ("u00000", "i00002", 3)]
    pulled = timeline(events, {1: items, 2: items, 9: items}, 1, 2)
    report = evaluate(pulled, towers, tmp_path / "oracle", CONFIG)
    assert report.metrics["oracle"]["mrr@10"] == 1, "i00003 is the favourite, and is seen"


def _oracle() -> Oracle:
    zeros = {"swapped_on": np.zeros(2), "signed_up": np.zeros(2), "novelty_wanted": np.zeros(2), "listed": np.zeros(4)}
    wants = np.ones((2, 1))
    has = np.arange(4.0)[:, None]
    flat = np.zeros(4)
    return Oracle(wants=wants, wants_later=wants, has=has, popularity=flat, swing=flat, phase=flat, **zeros)
