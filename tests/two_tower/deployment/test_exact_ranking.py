from pathlib import Path

import numpy as np
import pytest

from tests.two_tower import parts
from tests.two_tower.deployment.conftest import consistent
from two_tower.deployment import exact_ranking
from two_tower.deployment.exact_ranking import ExactRanking
from two_tower.releases.release import open_release, publish

USER = np.array([[1.0, 0.5]] * 2, dtype=np.float32)  # red items (even numbers) score 1, blue ones 0.5
RED = [("i0", 1.0), ("i2", 1.0), ("i4", 1.0), ("i6", 1.0), ("i8", 1.0)]


@pytest.fixture(scope="module")
def ranking(tmp_path_factory: pytest.TempPathFactory) -> ExactRanking:
    return opened(tmp_path_factory.mktemp("release"))


def opened(folder: Path) -> ExactRanking:
    made = publish(folder, [consistent(folder / "parts")], parts.manifest())
    return ExactRanking(open_release(folder, made, folder))


@pytest.mark.parametrize(
    ("items", "excluded", "fault"),
    [
        (RED, set(), ""),
        (RED[::-1], set(), ""),
        ([*RED[1:], ("i1", 0.5)], {"i0", "gone"}, ""),
        (RED[:4], set(), "4 items instead of 5"),
        ([*RED[:4], RED[0]], set(), "an item is there twice"),
        ([*RED[:4], ("x", 1.0)], set(), "item 'x' is not in the catalogue"),
        (RED, {"i2"}, "item 'i2' should be left out"),
        ([*RED[:4], ("i8", 0.9999)], set(), "item 'i8' has the score 0.9999, the towers give 1"),
        ([("i1", 0.5), *RED[:4]], set(), "not in descending order"),
        ([*RED[:4], ("i1", 0.5)], set(), "item 'i8' is absent, whose score 1 is above"),
        ([*RED[:4], ("i8", float("nan"))], set(), "not in descending order"),
    ],
)
def test_items_are_compared_with_the_exact_ranking(ranking: ExactRanking, items, excluded, fault: str) -> None:
    found = ranking.fault(items, 5, USER, excluded, None)
    assert (fault in found) if fault else found == ""


def test_a_filter_and_popular_items(ranking: ExactRanking) -> None:
    blue = np.arange(10) % 2 == 1
    assert ranking.fault([("i1", 0.5), ("i3", 0.5)], 2, USER, set(), blue) == ""
    assert "'i2' should be left out" in ranking.fault([("i2", 1.0), ("i3", 0.5)], 2, USER, set(), blue)
    assert ranking.popular_fault([("i9", 9.0), ("i8", 8.0)], 2, set(), None) == ""
    assert "'i9' is absent" in ranking.popular_fault([("i8", 8.0), ("i7", 7.0)], 2, set(), None)


def test_of_a_large_catalogue_a_sample_and_the_returned_items_are_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_ranking, "MOST_SCORED", 5)
    ranking = opened(tmp_path)
    assert ranking.ids == ["i0", "i2", "i4", "i6", "i8"] and ranking.size == 10
    ranking.include(["i1", "i0", "unknown"])
    assert ranking.ids[-1] == "i1"
    assert ranking.fault([*RED, ("i1", 0.5)], 6, USER, set(), None) == ""
    assert "'i8' is absent" in ranking.fault([*RED[:4], ("i1", 0.5)], 5, USER, set(), None)


def test_ages_may_have_any_value_between_the_request_and_the_response(ranking: ExactRanking) -> None:
    items = [("i0", 1.0005), *((item, 1.0005) for item, _ in RED[1:])]
    assert "the towers give 1" in ranking.fault(items, 5, USER, set(), None)
    later = np.array([[1.0, 0.5], [1.001, 0.5]], dtype=np.float32)
    assert ranking.fault(items, 5, later, set(), None) == ""
    far = [("i0", 1.1), *items[1:]]
    assert "the towers give 1.0005" in ranking.fault(far, 5, later, set(), None)
