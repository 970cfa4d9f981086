from datetime import UTC, datetime, timedelta
from math import nan

import numpy as np
import pytest

from tests.two_tower.worlds import every_encoding
from two_tower.deployment.feature_comparison import compare

CONTRACT = every_encoding().contract
NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
ROW = {
    "country": "é",
    "visits": 2**53 + 1,
    "spend": float(np.float32(0.1)),
    "score": 0.1,
    "member": True,
    "joined": NOON,
    "recent_items": ["a", "b", "a"],
    "codes": [1, 2],
    "portrait": [0.5, 1.5],
    "topics": None,
}


def differences(changed: dict) -> tuple[int, list[str]]:
    return compare([7], [ROW], [{**ROW, **changed}], CONTRACT, {"visits": "activity"})


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"spend": 0.1},
        {"joined": NOON + timedelta(milliseconds=999)},
        {"joined": NOON.replace(tzinfo=None)},
        {"topics": []},
        {"zip": nan},
        {"portrait": np.array([0.5, 1.5], dtype=np.float32)},
    ],
)
def test_equal_values_do_not_differ(changed: dict) -> None:
    assert differences(changed) == (0, [])


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"visits": 2**53}, "User 7: online 9007199254740992, offline 9007199254740993. The online row is of another"),
        ({"visits": "9007199254740993"}, "another type"),
        ({"visits": float(2**53)}, "another type"),
        ({"member": 1}, "another type"),
        ({"visits": None}, "online nothing, offline 9007199254740993. It was not materialised, the view is not online"),
        ({"spend": 0.1001}, "another time"),
        ({"score": 0.10001}, "another time"),
        ({"joined": NOON + timedelta(seconds=1)}, "online 2024-01-01T12:00:01+00:00"),
        ({"recent_items": ["a", "a", "b"]}, "in another order"),
        ({"recent_items": ["a", "b"]}, "another time"),
        ({"codes": ["1", "2"]}, "another type"),
        ({"topics": ["x"]}, "online ['x'], offline nothing. The online row is later"),
        ({"country": "e"}, "another time"),
    ],
)
def test_a_difference_is_named_with_its_likely_cause(changed: dict, reason: str) -> None:
    count, reasons = differences(changed)
    assert count == 1 and len(reasons) == 1
    (name,) = changed
    view = "activity" if name == "visits" else "unknown"
    assert reasons[0].startswith(f"feature {name!r} of feature view {view!r} differs online for 1 of 1 users. User 7: ")
    assert reason in reasons[0]


def test_a_user_that_the_store_does_not_know_is_one_difference() -> None:
    count, reasons = compare([7, 8], [ROW, {}], [None, None], CONTRACT, {})
    assert count == 1 and len(reasons) == 1
    assert "reads another store" in reasons[0]


@pytest.mark.parametrize(
    ("online", "shown"),
    [
        ([0, 1, 2, 3, 9, 5, 6], "User 7 (element 4): online 9, offline 4."),
        ([0, 1, 2, 3, 4, 5], "User 7 (numbers of elements): online 6, offline 7."),
    ],
)
def test_of_long_lists_the_first_difference_is_shown(online: list[int], shown: str) -> None:
    _, reasons = compare([7], [{"codes": list(range(7))}], [{"codes": online}], CONTRACT, {})
    assert shown in reasons[0]
