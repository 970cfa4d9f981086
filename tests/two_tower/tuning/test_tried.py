from two_tower.tuning.tried import State, Tried, ranked


def tried(number: int, state: State, value: float | None, **values) -> Tried:
    return Tried(number=number, state=state, value=value, values=values, curve=(0.1, 0.2), seconds=1.234)


def test_finished_trials_are_ranked_and_of_equal_ones_the_earlier_comes_first():
    trials = [
        tried(1, "finished", 0.2),
        tried(2, "pruned", None),
        tried(3, "finished", 0.4),
        tried(4, "finished", 0.2),
        tried(5, "unfit", None),
        tried(6, "finished", 0.0),
    ]
    assert [trial.number for trial in ranked(trials)] == [3, 1, 4, 6]


def test_a_row_is_flat():
    assert tried(3, "finished", 0.4, dim=64, loss="bpr").row("recall@20") == {
        "trial": 3,
        "state": "finished",
        "recall@20": 0.4,
        "epochs": 2,
        "seconds": 1.23,
        "why": "",
        "dim": 64,
        "loss": "bpr",
    }
