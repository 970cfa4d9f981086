from dataclasses import replace
from typing import Any

import pytest

from tests.two_tower.timelines import timeline
from two_tower.evaluation.evaluate import Report
from two_tower.report.advice import advise
from two_tower.schema import Contract, Dtype, feature

PULLED = timeline(
    [("u", "a", 0), ("v", "a", 0.5), ("v", "b", 0.7), ("u", "b", 1.5), ("v", "c", 3)], {1: "a b c", 9: "a b c"}, 1, 2
)
WHOLE = Contract(
    user_key="user_id",
    user_key_dtype=Dtype.STRING,
    item_key="item_id",
    item_key_dtype=Dtype.STRING,
    user=(feature("recent", "Array(String)", {"encoding": "history"}),),
    item=(feature("item", "String", {}),),
)
CONFIG = {"epochs": 2}


def report(two_tower: float, item_knn: float, cold_events: int = 1) -> Report:
    recall = {"two_tower": two_tower, "popularity": 0.1, "item_knn": item_knn, "oracle": 0.9}
    cold = {"events": cold_events, "users": 1, "recall@20": {"two_tower": 0.5, "item_knn": 0.2, "popularity": 0.1}}
    none = {"events": 0, "users": 0, "recall@20": dict.fromkeys(recall)}
    return Report(
        metrics={name: {"recall@20": value} for name, value in recall.items()},
        slices={"cold_items": cold, "cold_users": none},
        counts={"events": 10},
        events="",
        per_user={},
        curve={},
        exposure={},
    )


def history(*recall: float) -> dict[str, Any]:
    return {"config": CONFIG, "history": [{"epoch": n + 1, "recall@20": value} for n, value in enumerate(recall)]}


def test_there_is_no_advice_where_the_towers_beat_all_baselines() -> None:
    assert advise(report(0.5, 0.4), history(0.2, 0.4), PULLED) == []


def test_the_first_sentence_says_how_much_the_towers_lose_and_where() -> None:
    first, *_ = advise(report(0.3, 0.4), history(0.2, 0.2), PULLED)
    assert first == (
        "The towers have recall@20 0.3000, -0.1000 against item_knn (0.4000). "
        "By slice: items without a training event +0.3000 (1 events)."
    )


@pytest.mark.parametrize(
    ("recall", "is_advised"),
    [((0.2, 0.3), True), ((0.3, 0.3), False), ((0.4, 0.3), False), ((0.3,), False)],
    ids=["still rises", "flat", "falls", "early stopping"],
)
def test_more_epochs_are_advised_if_validation_recall_still_rises(recall: tuple[float, ...], is_advised: bool) -> None:
    told = " ".join(advise(report(0.3, 0.4), history(*recall), PULLED))
    assert ("--set epochs=10" in told) == is_advised


def test_missing_inputs_are_named() -> None:
    told = " ".join(advise(report(0.3, 0.4), history(0.2), PULLED))
    assert "encoding=history" in told and "encoding=categorical" not in told
    whole = " ".join(advise(report(0.3, 0.4), history(0.2), replace(PULLED, contract=WHOLE)))
    assert "encoding=" not in whole
    numbers = replace(WHOLE, item=(feature("price", "Float32", {}),))
    assert "encoding=categorical" in " ".join(advise(report(0.3, 0.4), history(0.2), replace(PULLED, contract=numbers)))


def test_few_events_and_new_items_are_named() -> None:
    told = " ".join(advise(report(0.3, 0.4, cold_events=6), history(0.2), PULLED))
    assert "half of the 2 items have at most 1.5 training events" in told
    assert "60% of the test events are on items that have no training event" in told
    assert "test events are on" not in " ".join(advise(report(0.3, 0.4), history(0.2), PULLED))
