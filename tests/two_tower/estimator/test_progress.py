import io
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from two_tower.config import TrainConfig
from two_tower.estimator.progress import STEPS, Bar, progress_bar
from two_tower.training.callbacks import TrainStart


def test_the_bar_shows_epochs_and_is_full_at_the_last_step_though_training_ended_early() -> None:
    progress = Progress(console=Console(file=io.StringIO()))
    bar = Bar(progress, epochs=5)
    (task,) = progress.tasks
    for step in range(3):
        bar.step(f"step {step}")
    assert (task.completed, task.description) == (2, "step 2")
    bar.on_train_begin(TrainStart(config=TrainConfig(epochs=5), history=(), step=0, is_first=True))
    bar.on_epoch_end({"epoch": 1, "recall@20": 0.25})
    assert (task.completed, task.description) == (3, "training: epoch 1, validation recall@20 0.2500")
    for _ in range(STEPS - 2):
        bar.step("after the training")
    assert task.completed == task.total == STEPS + 5


@pytest.mark.parametrize("verbose", [True, False])
def test_a_pipe_gets_neither_the_bar_nor_the_lines_of_the_steps(
    verbose: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bar(verbose, epochs=3) as bar:
        bar.step("reading")
        print("epoch 1")
        sys.stderr.write("pull: interactions\n")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar(verbose=True, epochs=3) as bar:
        bar.step("reading the tables")
    assert "reading the tables" in terminal.getvalue()
