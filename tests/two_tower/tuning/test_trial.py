from two_tower.tuning.trial import State, TrialResult, best_first


def result(number: int, state: State, value: float | None, **values) -> TrialResult:
    return TrialResult(number=number, state=state, value=value, values=values, curve=(0.1, 0.2), seconds=1.234)


def test_finished_trials_are_ranked_and_of_equal_ones_the_earlier_comes_first():
    trials = [
        result(1, "finished", 0.2),
        result(2, "pruned", None),
        result(3, "finished", 0.4),
        result(4, "finished", 0.2),
        result(5, "unfit", None),
        result(6, "finished", 0.0),
    ]
    assert [trial.number for trial in best_first(trials)] == [3, 1, 4, 6]


def test_a_row_is_flat():
    assert result(3, "finished", 0.4, dim=64, loss="bpr").row("recall@20") == {
        "trial": 3,
        "state": "finished",
        "recall@20": 0.4,
        "epochs": 2,
        "seconds": 1.23,
        "why": "",
        "dim": 64,
        "loss": "bpr",
    }
