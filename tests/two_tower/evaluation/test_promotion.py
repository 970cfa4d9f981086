import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.two_tower import parts
from tests.two_tower.timelines import CONTRACT, lookup_towers, timeline
from two_tower.config import EvaluationConfig
from two_tower.evaluation import metrics
from two_tower.evaluation.evaluate import Report, evaluate
from two_tower.evaluation.promotion import Champion, decide, judge
from two_tower.releases import release
from two_tower.releases.release import Release
from two_tower.retrieval import index
from two_tower.schema import feature

CONFIG = EvaluationConfig(bootstrap_samples=100)
USERS = 400


def figures(per_user) -> dict[str, float]:
    low, high = metrics.interval(np.array(per_user), CONFIG.bootstrap_samples)
    return {"recall@20": float(np.mean(per_user)), "recall@20_low": low, "recall@20_high": high}


def report(two_tower, popularity) -> Report:
    per_user = {"two_tower": list(two_tower), "popularity": list(popularity)}
    return Report(
        metrics={name: figures(values) for name, values in per_user.items()},
        slices={},
        counts={"events": 3 * len(per_user["two_tower"]), "users": len(per_user["two_tower"])},
        events="0",
        per_user=per_user,
        curve={},
        exposure={},
    )


def champion(per_user, paired: bool = True) -> Champion:
    of = figures(per_user)
    return Champion(
        release="r-1",
        recall=of["recall@20"],
        low=of["recall@20_low"],
        high=of["recall@20_high"],
        per_user=tuple(per_user) if paired else None,
    )


@pytest.fixture
def skill():
    return np.random.default_rng(0).beta(2, 6, size=USERS)


def test_the_first_release_must_beat_popularity_only(skill):
    verdict = judge(report(skill, skill / 2), None, CONFIG)
    assert verdict.passed and verdict.gate == "promotion"
    assert verdict.details["lift"] == pytest.approx(2)
    assert verdict.details["champion"] is None
    assert "warning" not in verdict.details
    low, high = verdict.details["above_popularity_interval"]
    assert 0 < low < skill.mean() / 2 < high


@pytest.mark.parametrize(("share", "warned"), [(1.2, True), (1.0, False), (0.5, False)])
def test_a_better_baseline_is_a_warning_with_the_figures(skill, share, warned):
    evaluated = report(skill, skill / 2)
    knn = list(skill * share)
    evaluated = replace(
        evaluated,
        metrics=evaluated.metrics | {"item_knn": figures(knn)},
        per_user=evaluated.per_user | {"item_knn": knn},
    )
    verdict = judge(evaluated, None, replace(CONFIG, baseline_tolerance=0.2))
    assert verdict.passed
    assert ("The baseline item_knn has recall@20" in verdict.details.get("warning", "")) == warned
    compared = verdict.details["baselines"]["item_knn"]
    assert compared["difference"] == pytest.approx(skill.mean() * (1 - share))


@pytest.mark.parametrize(
    ("tolerance", "passed"), [(0.2, True), (0.1, False), (0.0, False)], ids=["20 %", "10 %", "none"]
)
def test_a_baseline_that_is_better_by_more_than_the_tolerance_holds_the_model(skill, tolerance, passed):
    evaluated = report(skill, skill / 2)
    better = list(skill * 1.2)  # the model has 1 / 1.2 = 83 % of it
    for name in ("item_knn", "ease"):
        evaluated.metrics[name], evaluated.per_user[name] = figures(better), better
    verdict = judge(evaluated, None, replace(CONFIG, baseline_tolerance=tolerance))
    assert verdict.passed == passed
    told = verdict.details["warning"] if passed else " ".join(verdict.reasons)
    assert told.index("The baseline item_knn has") < told.index("The baseline ease has")
    assert f"baseline_tolerance {tolerance:.1%}" in told


def test_min_lift_0_promotes_a_model_that_every_baseline_beats(skill):
    evaluated = report(skill / 10, skill)
    evaluated.metrics["ease"], evaluated.per_user["ease"] = figures(list(skill)), list(skill)
    assert not judge(evaluated, None, CONFIG).passed
    verdict = judge(evaluated, None, replace(CONFIG, min_lift=0.0))
    assert verdict.passed
    assert "because min_lift is 0" in verdict.details["warning"]


def test_one_user_holds_no_model_because_of_a_baseline():
    evaluated = report([0.2], [0.1])
    evaluated.metrics["ease"], evaluated.per_user["ease"] = figures([0.9]), [0.9]
    assert judge(evaluated, None, replace(CONFIG, baseline_tolerance=0.0)).passed


@pytest.mark.parametrize(("share", "passed"), [(1.0, False), (1.2, False), (0.99, True)])
def test_popularity_must_be_exceeded(skill, share, passed):
    assert judge(report(skill, skill * share), None, CONFIG).passed == passed


def test_a_model_without_a_hit_is_held_even_if_popularity_has_none_either():
    nothing = np.zeros(USERS)
    verdict = judge(report(nothing, nothing), None, CONFIG)
    assert not verdict.passed
    assert verdict.details["lift"] is None


def test_the_reason_gives_the_figures():
    verdict = judge(report([0.25] * 40, [0.2] * 40), None, replace(CONFIG, min_lift=1.5))
    assert verdict.reasons == (
        "recall@20 is 0.2500, measured on 120 events of 40 users. It must be above 0.3000, which is min_lift 1.5 times "
        "the 0.2000 of popularity.",
    )


def test_worse_than_the_current_release_beyond_noise_is_held(skill):
    verdict = judge(report(skill - 0.03, skill / 2), champion(skill), CONFIG)
    assert len(verdict.reasons) == 1
    assert "r-1 has" in verdict.reasons[0] and "on the same events" in verdict.reasons[0]
    assert "-0.0300" in verdict.reasons[0]


def test_worse_within_noise_passes(skill):
    noise = np.random.default_rng(1).normal(-0.001, 0.1, size=USERS)
    verdict = judge(report(skill + noise, skill / 2), champion(skill), CONFIG)
    low, high = verdict.details["champion"]["difference_interval"]
    assert verdict.passed
    assert low < 0 < high


def test_tolerance_allows_a_share_less(skill):
    new, old = report(skill * 0.97, skill / 2), champion(skill)
    assert not judge(new, old, replace(CONFIG, tolerance=0.02)).passed
    assert judge(new, old, replace(CONFIG, tolerance=0.04)).passed


def test_on_other_events_the_noise_of_both_counts(skill):
    slightly, clearly = report(skill - 0.01, skill / 3), report(skill - 0.06, skill / 3)
    assert not judge(slightly, champion(skill), CONFIG).passed, "the same users tell it"
    verdict = judge(slightly, champion(skill, paired=False), CONFIG)
    assert verdict.passed
    assert verdict.details["champion"]["measured_on"] == "the events of its own evaluation"
    assert not judge(clearly, champion(skill, paired=False), CONFIG).passed


def test_both_reasons_are_given(skill):
    assert len(judge(report(skill / 2, skill), champion(skill), CONFIG).reasons) == 2


@pytest.mark.parametrize("users", [1, 2, 12])
def test_a_tiny_evaluation_says_so(users, tmp_path):
    own = np.linspace(0.2, 0.4, users)
    verdict = judge(report(own, own / 2), champion(own[::-1]), CONFIG)
    assert verdict.passed
    assert f"only {users} user" in verdict.details["warning"]
    verdict.write(tmp_path / "verdict.json")
    assert "Infinity" not in json.dumps(verdict.details["champion"])


ITEMS = [f"{c}{d}" for c in "abcde" for d in range(10)]


@pytest.fixture
def world():
    """Forty users, each of whom takes an item of row a in training and one of row e in the test window."""
    everything = " ".join(ITEMS)
    events = [(f"u{n}", f"a{n % 10}", n / 100) for n in range(40)]
    events += [(f"u{n}", f"e{n % 10}", 3 + n / 100) for n in range(40)]
    return timeline(events, {1: everything, 2: everything, 9: everything}, 1, 2)


def towers(folder, sign: float):
    """Towers that put the items of row e first (sign 1) or last (-1)."""
    return lookup_towers(
        folder, {f"u{n}": [sign] for n in range(40)}, {name: [float(n)] for n, name in enumerate(ITEMS)}
    )


def current(folder, contract=CONTRACT, train_end="2024-01-01T00:30:00+00:00", recall=1.0):
    """A release whose manifest claims this recall@20, and whose towers are perfect."""
    towers(folder, 1)
    own = {"recall@20": recall, "recall@20_low": recall - 0.1, "recall@20_high": recall}
    bounds = {**parts.BOUNDS, "train_end": train_end}
    return Release(folder, parts.manifest(id="r-1", contract=contract, metrics={"two_tower": own}, bounds=bounds))


def test_the_current_towers_are_run_on_the_same_events(world, tmp_path):
    new = evaluate(world, towers(tmp_path / "new", -1), None, CONFIG)
    champion = Champion.of(current(tmp_path / "r-1", recall=0.3), world, CONFIG)
    assert champion.recall == 1, "as measured here, whatever the manifest says"
    assert champion.note == ""
    verdict = judge(new, champion, CONFIG)
    assert not verdict.passed
    assert verdict.details["champion"]["measured_on"] == "the same events"


def test_the_same_towers_again_are_no_worse(world, tmp_path):
    new = evaluate(world, towers(tmp_path / "new", 1), None, CONFIG)
    assert judge(new, Champion.of(current(tmp_path / "r-1"), world, CONFIG), CONFIG).passed


@pytest.mark.parametrize(("name", "dtype"), [("item", "Int64"), ("brand", "String")])
def test_a_feature_that_was_not_pulled_leaves_the_manifest_figures(world, tmp_path, name, dtype):
    other = replace(CONTRACT, item=(feature(name, dtype, {}),))
    champion = Champion.of(current(tmp_path / "r-1", contract=other, recall=0.3), world, CONFIG)
    assert (champion.recall, champion.low, champion.per_user) == (0.3, pytest.approx(0.2), None)
    assert f"({name} {dtype})" in champion.note


def test_a_champion_that_was_trained_on_the_test_window_is_named(world, tmp_path):
    folder = current(tmp_path / "r-1", train_end="2024-01-01T04:00:00+00:00")
    assert "trained on some of these test events" in Champion.of(folder, world, CONFIG).note


def test_the_gate_looks_up_the_current_release(world, tmp_path):
    better, releases = towers(tmp_path / "new", 1), tmp_path / "releases"
    new = evaluate(world, better, None, CONFIG)
    assert decide(new, world, str(releases), CONFIG).details["champion"] is None
    index.build(np.ones((50, 1), dtype=np.float32), "dot", "space", better / "index.onnx")
    pq.write_table(pa.table({"item_id": ITEMS}), better / "items.parquet")
    bounds = {"train_end": "2024-01-01T01:00:00+00:00", "as_of": "2024-01-01T09:00:00+00:00"}
    name = release.publish(releases, [better], parts.manifest("space", contract=CONTRACT, bounds=bounds))
    release.activate(releases, name)
    compared = decide(new, world, str(releases), CONFIG).details["champion"]
    assert (compared["release"], compared["difference"]) == (name, 0)

    (releases / name / "items.parquet").write_bytes(b"torn")
    alone = decide(new, world, str(releases), CONFIG)
    assert alone.passed and alone.details["champion"] is None
    assert f"release {name}: items.parquet" in alone.details["warning"]
