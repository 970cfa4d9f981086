"""The line on the simulated world and on real data: figures that may move, and bounds that must not be crossed."""

from pathlib import Path

import pyarrow as pa
import pytest

from tests.e2e.report_page import look
from tests.raw import real
from tests.serving.walk import walk
from two_tower import TwoTowerRecommender
from two_tower.datasets import load

pytestmark = pytest.mark.slow


def test_the_simulated_world_is_learned_to_nine_tenths_of_its_oracle(run, tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--dataset", "sample")
    assert done.status == 0, done.stderr
    recall = {model: figures["recall@20"] for model, figures in done.record["metrics"].items()}
    assert recall["two_tower"] >= 0.9 * recall["oracle"]
    assert recall["two_tower"] > max(recall["item_knn"], recall["ease"]) > recall["popularity"]
    assert (done.out / "releases" / done.record["release"] / "index.onnx").is_file()
    assert walk(done.out / "releases")
    look(done.out / "report.html")


def test_real_ratings_give_a_release_above_the_baselines(run, tmp_path: Path) -> None:
    done = run(tmp_path / "out", "--dataset", "movielens-100k", "--data-dir", str(real("ml-100k")))
    assert done.status == 0, done.stderr
    recall = {model: figures["recall@20"] for model, figures in done.record["metrics"].items()}
    baselines = [recall[name] for name in ("popularity", "item_knn", "cooccurrence", "ease")]
    assert recall["two_tower"] > 1.05 * max(baselines) and min(baselines) > 0.2
    assert all(gate["passed"] for gate in done.record["gates"].values())
    assert not any(name.isdecimal() for name in walk(done.out / "releases"))  # titles
    look(done.out / "report.html")
    model = TwoTowerRecommender().fit(*films())
    assert model.metrics_["popularity"]["recall@20"] == pytest.approx(recall["popularity"]), "the same test window"
    assert model.metrics_["two_tower"]["recall@20"] == pytest.approx(recall["two_tower"], abs=0.01)


def films() -> tuple[pa.Table, pa.Table, pa.Table]:
    """The ratings, users and films as their files have them, without the features of the built-in repository."""
    tables = load("movielens-100k", real("ml-100k"))
    users = tables.users.drop_columns(["event_timestamp"])
    return tables.interactions, users, tables.items.select(["item_id", "title", "genres", "year", "released"])
