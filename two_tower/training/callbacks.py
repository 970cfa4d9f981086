"""Callbacks of the training loop: the protocol, and the log."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from two_tower.config import TrainConfig
from two_tower.config.fields import split
from two_tower.errors import InputError, unknown
from two_tower.plugins import check_parameters, is_reference, load, violation

Metrics = Mapping[str, float]
HOOKS = {"on_train_begin": "start", "on_epoch_end": "metrics", "on_train_end": "result"}  # method: parameter


@dataclass(frozen=True)
class TrainStart:
    """The state at the start of training.

    Attributes:
        config: Settings of the run.
        history: Metrics of the epochs that were trained before the checkpoint, empty if the run does not resume.
        step: Number of steps done.
        is_first: Whether this is the only process or the first of several, which alone prints and writes files.
    """

    config: TrainConfig
    history: Sequence[Metrics]
    step: int
    is_first: bool


class Callback(Protocol):
    """Methods that the training loop calls; a subclass overrides those that it needs.

    An exception ends the run, and no model is written; checkpoints stay. With several processes, each calls its own
    callbacks.
    """

    def on_train_begin(self, start: TrainStart) -> None:
        """Called before the first step, after a checkpoint was loaded."""
        return

    def on_epoch_end(self, metrics: Metrics) -> None:
        """Called after each epoch with its metrics: epoch, loss, recall@20 and positives_per_second.

        `recall@20` is of the validation window.
        """
        return

    def on_train_end(self, result: Mapping[str, Any]) -> None:
        """Called with what `train` returns, after the model was written."""
        return


class ProgressLog(Callback):
    """Prints a line for each epoch."""

    def on_train_begin(self, start: TrainStart) -> None:
        self.start, self.began = start, time.perf_counter()
        if start.step:
            self._print(f"resuming after step {start.step:,}, in epoch {len(start.history) + 1}")

    def on_epoch_end(self, metrics: Metrics) -> None:
        now = time.perf_counter()
        seconds, self.began = now - self.began, now
        epoch, epochs = int(metrics["epoch"]), self.start.config.epochs
        self._print(
            f"epoch {epoch}/{epochs}  loss {metrics['loss']:.4f}  validation recall@20 {metrics['recall@20']:.4f}"
            f"  {metrics['positives_per_second']:,.0f} positives/s  at most {seconds * (epochs - epoch):.0f} s left"
        )

    def _print(self, text: str) -> None:
        if self.start.is_first:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


def call(callbacks: Sequence[Callback], hook: str, argument: Any) -> None:
    """Call a hook of each callback. An exception gets a note that names the callback."""
    for callback in callbacks:
        try:
            getattr(callback, hook)(argument)
        except Exception as error:
            if not getattr(error, "__notes__", None):  # else a wrapped callback is named already
                error.add_note(f"Raised by {hook} of callback {type(callback).__qualname__}.")
            raise


def load_callbacks(setting: str) -> list[Callback]:
    """Create the callbacks of the setting `callbacks`.

    Args:
        setting: Comma-separated `package.module:Name`, each a class or function without parameters.

    Raises:
        InputError: A callback cannot be imported, cannot be called without parameters, or lacks a method.
    """
    callbacks = []
    for name in split(setting):
        if not is_reference(name):
            raise InputError(f"callbacks={name} is not of the form package.module:Name. Correct the setting.")
        factory = load(name, "callbacks")
        check_parameters(factory, (), f"callbacks={name}")
        callbacks.append(factory())
        check_callback(callbacks[-1], f"callbacks={name}")
    return callbacks


def check_callback(callback: Callback, label: str = "") -> None:
    """Check that an object has the methods of the protocol `Callback`.

    Args:
        callback: The object.
        label: How to name it in the message. Default: its class.

    Raises:
        InputError: A method is missing or has other parameters.
    """
    label = label or f"callback {type(callback).__qualname__}"
    for method, parameters in HOOKS.items():
        if not callable(getattr(callback, method, None)):
            raise violation(
                label, "a callback", f"it has no method {method}; subclass Callback to inherit an empty one."
            )
        check_parameters(getattr(callback, method), (parameters,), f"{label}: {method}")
    for name in dir(callback):
        if name.startswith("on_") and name not in HOOKS:
            raise violation(label, "a callback", f"its method {name} is never called; {unknown('hook', name, HOOKS)}")
