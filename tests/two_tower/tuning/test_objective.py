from dataclasses import replace
from pathlib import Path

import pytest

from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.data.pulled import Pulled
from two_tower.training.train import TENSORBOARD
from two_tower.tuning.objective import METRIC, Training, shared_inputs, source
from two_tower.tuning.space import Space
from two_tower.tuning.study import PrunedError, UnfitError

BASE = TrainConfig(dim=8, hidden=8, epochs=2, batch_size=256, device="cpu")
SPACE = Space.of({"dim": [8, 16]})


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Parts:
    folder = tmp_path_factory.mktemp("pulled")
    checkerboard(users=20, items=40, per_user=16).write(folder)
    return Parts(folder)


def test_a_trial_returns_the_best_epoch_and_keeps_its_tensorboard_files_only(parts, tmp_path: Path):
    reported: list[float] = []
    value = Training(source(parts, BASE), BASE, tmp_path)({"dim": 16}, reported.append)
    assert len(reported) == 2 and value == max(reported)
    assert [path.name for path in (tmp_path / TENSORBOARD).iterdir()] == ["dim=16"]
    assert not (tmp_path / "working").exists()


def test_a_pruned_trial_leaves_no_checkpoint(parts, tmp_path: Path):
    def report(_: float) -> None:
        raise PrunedError

    with pytest.raises(PrunedError):
        Training(source(parts, BASE), BASE, tmp_path)({"dim": 16}, report)
    assert not (tmp_path / "checkpoints").exists() and not (tmp_path / "working").exists()


def test_values_that_are_not_allowed_together_are_unfit(parts, tmp_path: Path):
    with pytest.raises(UnfitError, match="similarity"):
        Training(source(parts, BASE), replace(BASE, similarity="dot"), tmp_path)(
            {"loss": "cosine_contrastive"}, lambda _: None
        )


def test_the_rows_stay_on_disk_if_the_settings_say_so(parts):
    assert isinstance(source(parts, replace(BASE, stream="off")), Pulled)
    assert source(parts, replace(BASE, stream="on")) == parts.folder


def test_a_study_depends_on_settings_that_change_quality_only(parts, tmp_path: Path):
    first = shared_inputs(parts, BASE, SPACE)
    assert first == shared_inputs(parts, replace(BASE, checkpoints=str(tmp_path), mlflow="http://host"), SPACE)
    assert first["settings"] != shared_inputs(parts, replace(BASE, seed=1), SPACE)["settings"]
    assert first["search space"] != shared_inputs(parts, BASE, Space.of({"dim": [8, 32]}))["search space"]
    checkerboard(users=20, items=40, per_user=16, seed=1).write(tmp_path)
    assert first["data"] != shared_inputs(Parts(tmp_path), BASE, SPACE)["data"]
    assert METRIC == "recall@20"
