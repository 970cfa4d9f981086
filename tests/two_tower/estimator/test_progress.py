import io
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from two_tower.config import TrainConfig
from two_tower.estimator.progress import STEPS, Audible, Bar, progress_bar
from two_tower.training.callbacks import Callback, Metrics, TrainStart

START = TrainStart(config=TrainConfig(epochs=5), history=(), step=0, is_first=True)


def test_the_bar_shows_epochs_and_is_full_at_the_last_step_though_training_ended_early() -> None:
    progress = Progress(console=Console(file=io.StringIO()))
    bar = Bar(progress, epochs=5)
    (task,) = progress.tasks
    for step in range(3):
        bar.step(f"step {step}")
    assert (task.completed, task.description) == (2, "step 2")
    bar.on_train_begin(START)
    bar.on_epoch_end({"epoch": 1, "recall@20": 0.25})
    assert (task.completed, task.description) == (3, "training: epoch 1, validation recall@20 0.2500")
    for _ in range(STEPS - 2):
        bar.step("after the training")
    assert task.completed == task.total == STEPS + 5


@pytest.mark.parametrize("verbose", [True, False])
def test_a_pipe_gets_lines_of_fit_and_not_those_of_the_steps(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar(verbose, epochs=3) as bar:
        bar.step("reading")
        bar.on_train_begin(START)
        bar.on_epoch_end({"epoch": 1, "recall@20": 0.25})
        print("epoch 1")
        sys.stderr.write("pull: interactions\n")
    lines = "fit: reading\nfit: epoch 1 of at most 5, validation recall@20 0.2500\n"
    assert capsys.readouterr() == ("", lines if verbose else "")


def test_what_a_callback_prints_appears(capsys: pytest.CaptureFixture[str]) -> None:
    class Printing(Callback):
        def on_epoch_end(self, metrics: Metrics) -> None:
            print(f"recall {metrics['recall@20']}")

    callback = Audible(Printing(), (sys.stdout, sys.stderr))
    with progress_bar(False, epochs=3):
        callback.on_train_begin(START)
        callback.on_epoch_end({"recall@20": 0.5})
        callback.on_train_end({})
    assert capsys.readouterr() == ("recall 0.5\n", "")


def test_a_terminal_gets_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar(verbose=True, epochs=3) as bar:
        bar.step("reading the tables")
    assert "reading the tables" in terminal.getvalue()
