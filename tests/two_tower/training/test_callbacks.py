import math

import pytest

from tests.two_tower.worlds import every_encoding
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.callbacks import Callback, ProgressLog, check_callback, load_callbacks
from two_tower.training.train import train


class Recorder(Callback):
    """Notes every call, and stops the run after an epoch."""

    def __init__(self, stop_at: float = math.inf) -> None:
        self.calls, self.stop_at = [], stop_at

    def on_train_begin(self, start):
        self.calls.append(("begin", [epoch["epoch"] for epoch in start.history], start.step > 0, start.is_first))

    def on_epoch_end(self, metrics):
        self.calls.append(("epoch", metrics["epoch"]))
        if metrics["epoch"] == self.stop_at:
            raise InterruptedError

    def on_train_end(self, result):
        self.calls.append(("end", result["best"]["epoch"]))


class WithoutEnd:
    def on_train_begin(self, start): ...

    def on_epoch_end(self, metrics): ...


class Misspelled(Callback):
    def on_epoch_ends(self, metrics):
        raise AssertionError


class WithoutMetrics(Recorder):
    def on_epoch_end(self):  # type: ignore[override]
        ...


def test_callbacks_are_called_in_order_and_the_model_is_there_at_the_end(tmp_path):
    written = []

    class Written(Recorder):
        def on_train_end(self, result):
            written.append((tmp_path / "model.json").exists() and result["embedding_space"])

    recorder = Recorder()
    result = train(every_encoding(), TrainConfig(epochs=2, device="cpu"), tmp_path, [recorder, Written()])
    assert recorder.calls == [("begin", [], False, True), ("epoch", 1), ("epoch", 2), ("end", 1)]
    assert written == [result["embedding_space"]]


def test_a_callback_that_raises_ends_the_run_without_a_model(tmp_path, capsys):
    recorder = Recorder(stop_at=2)
    with pytest.raises(InterruptedError) as raised:
        train(every_encoding(), TrainConfig(epochs=9, device="cpu"), tmp_path, [recorder])
    assert raised.value.__notes__ == ["Raised by on_epoch_end of callback Recorder."]
    assert recorder.calls[1:] == [("epoch", 1), ("epoch", 2)]
    assert not (tmp_path / "model.json").exists() and not capsys.readouterr().out, "the log is a callback too"


def test_a_resumed_run_begins_with_the_epochs_before_its_checkpoint(tmp_path):
    config = TrainConfig(epochs=4, patience=9, device="cpu", checkpoints=str(tmp_path / "kept"))
    with pytest.raises(InterruptedError):
        train(every_encoding(), config, tmp_path / "first", [Recorder(stop_at=3)])
    recorder = Recorder()
    train(every_encoding(), config, tmp_path / "second", [recorder])
    assert recorder.calls == [("begin", [1, 2], True, True), ("epoch", 3), ("epoch", 4), ("end", 1)]


@pytest.mark.parametrize(
    ("callback", "rule"),
    [
        (WithoutEnd(), "no method on_train_end"),
        (WithoutMetrics(), "on_epoch_end cannot be called"),
        (Misspelled(), "on_epoch_ends is never called.*Did you mean 'on_epoch_end'"),
    ],
)
def test_a_callback_that_breaks_the_protocol_is_named_and_nothing_written(tmp_path, callback, rule):
    with pytest.raises(InputError, match=rf"{type(callback).__name__}.*{rule}"):
        train(every_encoding(), TrainConfig(epochs=1, device="cpu"), tmp_path / "model", [callback])
    assert not (tmp_path / "model").exists()
    with pytest.raises(InputError, match=rule):
        check_callback(callback)


def test_callbacks_are_loaded_by_name():
    callbacks = load_callbacks(f"{__name__}:Recorder, two_tower.training.callbacks:ProgressLog")
    assert [type(callback) for callback in callbacks] == [Recorder, ProgressLog]
    assert load_callbacks("") == []


@pytest.mark.parametrize(
    ("setting", "problem"),
    [
        ("Recorder", "not of the form package.module:Name"),
        ("no_such_module:Recorder", "importing 'no_such_module' failed: ModuleNotFoundError"),
        (f"{__name__}:Recoder", "unknown attribute 'Recoder'. Did you mean 'Recorder'"),
        (f"{__name__}:WithoutEnd", "no method on_train_end"),
        (f"{__name__}:math", "is not callable"),
    ],
)
def test_a_callback_that_cannot_be_loaded_is_named(setting, problem):
    with pytest.raises(InputError, match=rf"callbacks={setting}.*{problem}"):
        load_callbacks(setting)
