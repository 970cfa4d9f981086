"""The train step, as a pipeline runs it in a pod."""

from pathlib import Path

import pytest

from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.callbacks import Callback, TrainStart
from two_tower.training.launch import train_step
from two_tower.training.network import model

SMALL = TrainConfig(dim=8, hidden=8, batch_size=64, epochs=3, device="cpu", patience=9)


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pulled")
    checkerboard(users=20, items=40, per_user=16).write(folder)
    return folder


class Stopped(Callback):
    """Ends the process of the first attempt after its second epoch, as the loss of a node does."""

    starts: list[TrainStart] = []  # noqa: RUF012 - one list for all attempts

    def on_train_begin(self, start: TrainStart) -> None:
        self.starts.append(start)

    def on_epoch_end(self, metrics: dict[str, float]) -> None:
        if len(self.starts) == 1 and metrics["epoch"] == 3:
            raise ConnectionResetError


def test_a_step_in_a_new_pod_resumes_from_the_checkpoint_beside_the_releases(pulled: Path, tmp_path: Path) -> None:
    config = TrainConfig.of({**vars(SMALL), "callbacks": f"{__name__}:Stopped"})
    releases = str(tmp_path / "releases")
    with pytest.raises(ConnectionResetError):
        train_step(pulled, config, releases, 1, tmp_path / "first")
    train_step(pulled, config, releases, 1, tmp_path / "second")
    first, second = Stopped.starts
    assert first.step == 0 and len(second.history) == 2
    assert model.load(tmp_path / "second").config.epochs == 3


@pytest.mark.slow
def test_two_processes_train_one_model(pulled: Path, tmp_path: Path) -> None:
    train_step(pulled, SMALL, str(tmp_path / "releases"), 2, tmp_path / "model")
    trained = model.load(tmp_path / "model")
    assert (trained.config.epochs, trained.config.checkpoints) == (3, "")


@pytest.mark.slow
def test_the_error_of_a_process_is_that_of_the_step(pulled: Path, tmp_path: Path) -> None:
    diverging = TrainConfig.of({**vars(SMALL), "learning_rate": 1e30})
    with pytest.raises(InputError, match=r"not a finite number\. Lower learning_rate=1e"):
        train_step(pulled, diverging, str(tmp_path / "releases"), 2, tmp_path / "model")
