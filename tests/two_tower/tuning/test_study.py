import math
from pathlib import Path

import pytest

from two_tower.errors import InputError
from two_tower.tuning.space import Space
from two_tower.tuning.study import FILE, Study, UnfitError, opened
from two_tower.tuning.tried import ranked

SPACE = Space.of({"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "hidden": [64, 128]})
MADE_OF = {"data": "d1", "settings": "s1"}


def peak(values, report) -> float:
    """Highest, 1, at a learning rate of 0.01 and a width of 128."""
    return 1 - abs(math.log10(values["learning_rate"]) + 2) - 0.1 * (values["hidden"] == 64)


def search(folder: Path, trials: int, objective=peak, **others) -> list:
    with opened(folder, SPACE, MADE_OF, seed=0) as study:
        study.run(objective, trials, **others)
        return study.tried()


def test_the_search_comes_near_the_peak_and_says_what_mattered(tmp_path):
    tried = search(tmp_path, 25)
    assert [one.number for one in tried] == list(range(1, 26))
    best = ranked(tried)[0]
    assert best.values["hidden"] == 128 and 0.005 < best.values["learning_rate"] < 0.02
    assert best.value == max(one.value for one in tried) == peak(best.values, None)
    with opened(tmp_path, SPACE, MADE_OF, seed=0) as study:
        importance = study.importance()
    assert list(importance) == ["learning_rate", "hidden"] and sum(importance.values()) == pytest.approx(1)


def test_a_study_that_goes_on_draws_what_an_unbroken_one_draws(tmp_path):
    whole = search(tmp_path / "whole", 15)
    search(tmp_path / "parts", 4)
    killed_at, calls = 3, []

    def killed(values, report):
        calls.append(values)
        if len(calls) == killed_at:
            raise KeyboardInterrupt
        return peak(values, report)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "parts", 15, killed)
    parts = search(tmp_path / "parts", 15)
    assert [one.values for one in parts] == [one.values for one in whole]
    assert parts[6].values == calls[killed_at - 1], "the trial that was broken off is tried again, first"
    assert search(tmp_path / "parts", 15) == parts, "nothing is left to do"


def test_every_seed_that_the_setting_allows_is_a_seed_of_the_search(tmp_path):
    with opened(tmp_path, SPACE, MADE_OF, seed=2**32 - 1) as study:
        study.run(peak, 2)
        assert len(study.tried()) == 2


def test_a_line_that_was_not_written_to_its_end_is_no_hindrance(tmp_path):
    whole = search(tmp_path / "whole", 4)
    search(tmp_path / "torn", 3)
    with (tmp_path / "torn" / FILE).open("a") as journal:
        journal.write('{"op_code":4,"worker')
    assert [one.values for one in search(tmp_path / "torn", 4)] == [one.values for one in whole]


def test_a_trial_that_falls_behind_is_given_up(tmp_path):
    def curve(values, report):
        height, last = peak(values, report), 0.0
        for epoch in range(1, 11):
            last = height * epoch / 10
            report(last)
        return last

    tried = search(tmp_path, 20, curve)
    pruned = [one for one in tried if one.state == "pruned"]
    assert pruned and all(one.value is None and 3 <= len(one.curve) < 10 for one in pruned)
    assert not [one for one in tried[:4] if one.state == "pruned"], "these are what the others are compared with"
    assert max(max(one.curve) for one in pruned) < ranked(tried)[0].value


def test_values_that_cannot_be_trained_with_do_not_end_the_search(tmp_path):
    def narrow(values, report):
        if values["hidden"] == 64:
            raise UnfitError("too narrow")
        return peak(values, report)

    tried = search(tmp_path, 10, narrow)
    unfit = [one for one in tried if one.state == "unfit"]
    assert len(tried) == 10 and 0 < len(unfit) < 10
    assert all(one.why == "too narrow" and one.values["hidden"] == 64 and one.value is None for one in unfit)


def test_the_present_settings_are_tried_first_and_only_once(tmp_path):
    with opened(tmp_path, SPACE, MADE_OF, seed=0) as study:
        study.first({"learning_rate": 0.002})
        study.run(peak, 1)
        study.first({"learning_rate": 0.003})
        study.run(peak, 3)
        rates = [one.values["learning_rate"] for one in study.tried()]
    assert rates[0] == 0.002 and 0.003 not in rates


def test_no_trial_begins_after_the_time(tmp_path):
    assert search(tmp_path, 5, seconds=0.0) == []


def test_a_study_of_other_data_is_refused(tmp_path):
    search(tmp_path, 1)
    with (
        pytest.raises(InputError, match=r"a search with other data, .* give another --out"),
        opened(tmp_path, SPACE, {**MADE_OF, "data": "d2"}, seed=0),
    ):
        pass


def test_one_process_at_a_time(tmp_path):
    with (
        opened(tmp_path, SPACE, MADE_OF, seed=0) as study,
        pytest.raises(InputError, match="in use by another search"),
        opened(tmp_path, SPACE, MADE_OF, seed=0),
    ):
        pass
    assert isinstance(study, Study)
