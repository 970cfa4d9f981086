import re

from tests.two_tower.report.test_report import Tags
from two_tower.report import tuning
from two_tower.tuning.space import Space
from two_tower.tuning.trial import TrialResult

SPACE = Space.of({"learning_rate": {"low": 0.001, "high": 0.1, "log": True}, "loss": ["bpr", "triplet"]})


def result(number: int, state: str, value: float | None, rate: float, loss: str = "bpr", **others) -> TrialResult:
    values = {"learning_rate": rate, "loss": loss}
    return TrialResult(
        number=number, state=state, value=value, values=values, **({"curve": (0.1, 0.2), "seconds": 3} | others)
    )


TRIALS = [
    result(1, "finished", 0.3, 0.001),
    result(2, "pruned", None, 0.1, "triplet"),
    result(3, "unfit", None, 0.05, curve=(), why="the loss is nan & gone"),
    result(4, "finished", 0.4, 0.01),
]


def page(tmp_path, trials, **others) -> str:
    content = {"title": "Search", "metric": "recall@20", "space": SPACE, "importance": {}, "toml": ""} | others
    tuning.write(tmp_path / "tune.html", tuning.Search(trials=trials, **content))
    text = (tmp_path / "tune.html").read_text()
    tags = Tags()
    tags.feed(text)
    assert not tags.open and "http" not in text and "<script" not in text
    return text


def test_the_best_trials_come_first_and_unfit_ones_have_a_reason(tmp_path):
    text = page(tmp_path, TRIALS, importance={"learning_rate": 0.9, "loss": 0.1}, toml="learning_rate = 0.01")
    assert re.findall(r"<tr><td>(\d+)</td><td>([\d.]+)</td>", text) == [("4", "0.4000"), ("1", "0.3000")]
    assert "4 trials: 2 finished, 1 pruned, 1 could not be trained" in text
    assert "Trial 3: the loss is nan &amp; gone" in text and "learning_rate = 0.01" in text and ">90%</text>" in text


def test_a_slice_shows_each_trial_at_its_value(tmp_path):
    chart = page(tmp_path, TRIALS).split("recall@20 by learning_rate")[2].split("</figure>")[0]
    at = {number: float(x) for x, number in re.findall(r'cx="([\d.]+)" .*?<title>trial (\d)', chart)}
    assert set(at) == {"1", "2", "4"}, "an unfit trial has no metric"
    assert at["4"] - at["1"] == (at["2"] - at["1"]) / 2, "the middle of a logarithmic axis"
    assert '<g class="oracle hollow">' in chart


def test_a_search_without_a_finished_trial(tmp_path):
    assert "Best trials" not in page(tmp_path, TRIALS[2:3])
