"""The leak test: features that know their own event lift offline recall, and the real pipeline has no such lift.

Interactions are drawn at random, so nothing honest can be learned: recall@20 of 80 items stays near what chance gives.
An activity row stamped at its own event, and so read by it, holds the very item to be predicted.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from two_tower.checks.leaks import check
from two_tower.config import EvaluationConfig, PullConfig, TrainConfig
from two_tower.data.features import pull
from two_tower.data.pulled import Pulled
from two_tower.datasets import load
from two_tower.datasets.prepare import prepare, write_sources
from two_tower.datasets.tables import Tables
from two_tower.evaluation.evaluate import evaluate
from two_tower.exporting.export import export
from two_tower.training.network.model import load as load_model
from two_tower.training.train import train

pytestmark = pytest.mark.slow


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """The checkerboard's people, things and times, but who takes what is chance."""
    folder = tmp_path / "repo"
    prepare("checkerboard", None, folder)
    board = load("checkerboard")
    rng = np.random.default_rng(0)
    rows, column = board.interactions, board.interactions.column_names.index("item_id")
    drawn = pa.array(rng.integers(0, board.items.num_rows, rows.num_rows))
    chance = Tables(users=board.users, items=board.items, interactions=rows.set_column(column, "item_id", drawn))
    write_sources(chance, folder / "data")
    return folder


def recall(repo: Path, work: Path) -> tuple[Pulled, float]:
    pulled = pull(repo, PullConfig(), None, work / "pulled")
    train(pulled, TrainConfig(epochs=25, patience=25), work / "model")
    export(load_model(work / "model"), work / "towers")
    report = evaluate(pulled, work / "towers", None, EvaluationConfig(bootstrap_samples=10))
    return pulled, report.metrics["two_tower"]["recall@20"]


def own_item_in_history(pulled: Pulled) -> float:
    """Share of the interactions whose history ends with the very item."""
    histories = pulled.user["recent_items"].to_pylist()
    return float(
        np.mean(
            [(h or [])[-1:] == [i] for h, i in zip(histories, pulled.interactions["item_id"].to_pylist(), strict=True)]
        )
    )


def test_a_row_of_its_own_event_lifts_recall_and_the_pipeline_has_none(repo: Path, tmp_path: Path) -> None:
    honest, chance = recall(repo, tmp_path / "honest")
    assert own_item_in_history(honest) < 0.05
    assert check(repo).passed
    assert chance < 0.45, "20 of about 60 unseen items, by chance"

    path = repo / "data" / "user_activity.parquet"
    rows = pq.read_table(path)
    stamp = rows.column_names.index("event_timestamp")
    own = pc.subtract(rows["event_timestamp"], pa.scalar(1, pa.duration("us")))
    pq.write_table(rows.set_column(stamp, "event_timestamp", own), path)
    found = check(repo)
    assert all("'user_activity'" in reason for reason in found.reasons)
    assert not found.passed
    leaking, lifted = recall(repo, tmp_path / "leaking")
    assert own_item_in_history(leaking) > 0.95
    assert lifted > chance + 0.15
