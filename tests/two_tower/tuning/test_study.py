import math
from pathlib import Path

import pytest

from two_tower.errors import InputError
from two_tower.tuning import study
from two_tower.tuning.space import Space
from two_tower.tuning.study import FILE, Study, UnfitError, open_study
from two_tower.tuning.trial import best_first

SPACE = Space.of({"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "hidden": [64, 128]})
SHARED = {"data": "d1", "settings": "s1"}


def peak(values, report) -> float:
    """Highest, 1, at a learning rate of 0.01 and a width of 128."""
    return 1 - abs(math.log10(values["learning_rate"]) + 2) - 0.1 * (values["hidden"] == 64)


def search(folder: Path, trials: int, objective=peak, **others) -> list:
    with open_study(folder, SPACE, SHARED, seed=0) as study:
        study.run(objective, trials, **others)
        return study.results()


def test_the_search_finds_the_peak_and_the_importance_of_each_setting(tmp_path):
    trials = search(tmp_path, 25)
    assert [trial.number for trial in trials] == list(range(1, 26))
    best = best_first(trials)[0]
    assert best.values["hidden"] == 128 and 0.005 < best.values["learning_rate"] < 0.02
    assert best.value == max(trial.value for trial in trials) == peak(best.values, None)
    with open_study(tmp_path, SPACE, SHARED, seed=0) as study:
        importance = study.importance()
    assert list(importance) == ["learning_rate", "hidden"] and sum(importance.values()) == pytest.approx(1)


def test_a_resumed_study_draws_the_same_values_as_an_uninterrupted_one(tmp_path):
    whole = search(tmp_path / "whole", 15)
    search(tmp_path / "parts", 4)
    interrupted_at, calls = 3, []

    def interrupted(values, report):
        calls.append(values)
        if len(calls) == interrupted_at:
            raise KeyboardInterrupt
        return peak(values, report)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "parts", 15, interrupted)
    parts = search(tmp_path / "parts", 15)
    assert [trial.values for trial in parts] == [trial.values for trial in whole]
    assert parts[6].values == calls[interrupted_at - 1], "the interrupted trial is repeated first"
    assert search(tmp_path / "parts", 15) == parts, "nothing is left to do"


def test_every_seed_that_the_setting_allows_is_a_seed_of_the_search(tmp_path):
    with open_study(tmp_path, SPACE, SHARED, seed=2**32 - 1) as study:
        study.run(peak, 2)
        assert len(study.results()) == 2


def test_an_incomplete_last_line_is_ignored(tmp_path):
    whole = search(tmp_path / "whole", 4)
    search(tmp_path / "torn", 3)
    with (tmp_path / "torn" / FILE).open("a") as journal:
        journal.write('{"op_code":4,"worker')
    assert [trial.values for trial in search(tmp_path / "torn", 4)] == [trial.values for trial in whole]


def test_a_trial_that_is_worse_than_the_others_is_pruned(tmp_path):
    def curve(values, report):
        height, last = peak(values, report), 0.0
        for epoch in range(1, 11):
            last = height * epoch / 10
            report(last)
        return last

    trials = search(tmp_path, 20, curve)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned and all(trial.value is None and 3 <= len(trial.curve) < 10 for trial in pruned)
    assert not [trial for trial in trials[:4] if trial.state == "pruned"], "the others are compared with these"
    assert max(max(trial.curve) for trial in pruned) < best_first(trials)[0].value


def test_the_search_continues_after_an_unfit_trial(tmp_path):
    def narrow(values, report):
        if values["hidden"] == 64:
            raise UnfitError("too narrow")
        return peak(values, report)

    trials = search(tmp_path, 10, narrow)
    unfit = [trial for trial in trials if trial.state == "unfit"]
    assert len(trials) == 10 and 0 < len(unfit) < 10
    assert all(trial.why == "too narrow" and trial.values["hidden"] == 64 and trial.value is None for trial in unfit)


def test_the_sampler_uses_the_earlier_trials_from_the_sixth_on(tmp_path, monkeypatch):
    guided = search(tmp_path / "guided", 7)
    monkeypatch.setattr(study, "RANDOM", 100)
    random = search(tmp_path / "random", 7)
    assert [g.values == r.values for g, r in zip(guided, random, strict=True)] == [True] * 5 + [False] * 2


def test_the_current_settings_are_the_first_trial_and_only_once(tmp_path):
    with open_study(tmp_path, SPACE, SHARED, seed=0) as study:
        study.start_with({"learning_rate": 0.002})
        study.run(peak, 1)
        study.start_with({"learning_rate": 0.003})
        study.run(peak, 3)
        rates = [trial.values["learning_rate"] for trial in study.results()]
    assert rates[0] == 0.002 and 0.003 not in rates


def test_no_trial_starts_after_the_time_limit(tmp_path):
    assert search(tmp_path, 5, seconds=0.0) == []


def test_a_study_of_other_data_is_an_error(tmp_path):
    search(tmp_path, 1)
    with (
        pytest.raises(InputError, match=r"a search with other data, .* give another --out"),
        open_study(tmp_path, SPACE, {**SHARED, "data": "d2"}, seed=0),
    ):
        pass


def test_one_process_at_a_time(tmp_path):
    with (
        open_study(tmp_path, SPACE, SHARED, seed=0) as study,
        pytest.raises(InputError, match="in use by another search"),
        open_study(tmp_path, SPACE, SHARED, seed=0),
    ):
        pass
    assert isinstance(study, Study)
