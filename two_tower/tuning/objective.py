"""Objective of a trial: train towers with its values, and return the validation metric of early stopping."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.evaluation.baselines import choose_popularity
from two_tower.training.callbacks import Callback, Metrics, ProgressLog, TrainStart
from two_tower.training.streaming.source import stream_decision
from two_tower.training.train import TENSORBOARD, DivergedError, choose_device, train
from two_tower.training.validation import MAX_EVENTS
from two_tower.tuning.space import TUNABLE, Space, Value, format_value, with_values
from two_tower.tuning.study import PrunedError, Report, UnfitError

METRIC = "recall@20"  # on the validation window; the test window is for the final model only


@dataclass(frozen=True)
class Training:
    """Objective for `Study.run`.

    Attributes:
        pulled: Tables, read once for all trials, or the folder of a pull whose rows stay on disk; see `source`.
        base: Settings that the trials do not change.
        folder: Folder for the TensorBoard files of each trial and the checkpoints of the running trial. An interrupted
            trial resumes from its checkpoints.
    """

    pulled: Pulled | Path
    base: TrainConfig
    folder: Path

    def __call__(self, values: Mapping[str, Value], report: Report) -> float:
        """Train with the values of a trial.

        Args:
            values: Value of each searched setting.
            report: Function to call with the metric of each epoch.

        Returns:
            The metric of the best epoch.

        Raises:
            UnfitError: The values are not allowed together, or training diverged.
            PrunedError: The trial is worse than the others.
        """
        checkpoints, working = self.folder / "checkpoints", self.folder / "working"
        try:
            config = replace(with_values(self.base, values), checkpoints=str(checkpoints))
        except InputError as error:  # each value is allowed, but not in this combination
            raise UnfitError(str(error)) from error
        try:
            best = train(self.pulled, config, working, [ProgressLog(), Pruning(report)])["best"]
        except DivergedError as error:
            shutil.rmtree(checkpoints, ignore_errors=True)
            raise UnfitError(str(error)) from error
        except PrunedError:
            shutil.rmtree(checkpoints, ignore_errors=True)
            raise
        finally:
            self._keep_curves(working, values)
        return float(best[METRIC])

    def _keep_curves(self, working: Path, values: Mapping[str, Value]) -> None:
        """Keep the TensorBoard files of a trial, in a folder named by its values, and delete its model."""
        kept = self.folder / TENSORBOARD / ",".join(f"{name}={format_value(value)}" for name, value in values.items())
        if (working / TENSORBOARD).exists():
            shutil.rmtree(kept, ignore_errors=True)
            kept.parent.mkdir(parents=True, exist_ok=True)
            (working / TENSORBOARD).rename(kept)
        shutil.rmtree(working, ignore_errors=True)


class Pruning(Callback):
    """Reports the metric of each epoch to the study, which raises PrunedError to end a trial."""

    def __init__(self, report: Report) -> None:
        self.report = report

    def on_train_begin(self, start: TrainStart) -> None:
        for metrics in start.history:
            self.report(metrics[METRIC])

    def on_epoch_end(self, metrics: Metrics) -> None:
        self.report(metrics[METRIC])


def source(parts: Parts, base: TrainConfig) -> Pulled | Path:
    """Choose the training data of the trials.

    Args:
        parts: Parts of the pull.
        base: Settings of all trials.

    Returns:
        The tables, or their folder if the rows stay on disk (`base.stream`).
    """
    streams, _ = stream_decision(parts, base, choose_device(base.device))
    return parts.folder if streams else Pulled.read(parts.folder)


def popularity(rows: Pulled | Path) -> float | None:
    """Measure the popularity baseline on the validation events of the trials.

    Args:
        rows: Result of `source`.

    Returns:
        The metric of its best window; None if the rows stay on disk.
    """
    return choose_popularity(rows, MAX_EVENTS).recall if isinstance(rows, Pulled) else None


def shared_inputs(parts: Parts, base: TrainConfig, space: Space) -> dict[str, str]:
    """Describe what all trials of a study share, for `open_study`. Where training runs does not count.

    Args:
        parts: Parts of the pull.
        base: Settings of all trials.
        space: Search space.

    Returns:
        A text or hash each for `data`, `settings` and `search space`.
    """
    defaults = TrainConfig()
    settings = {name: getattr(base, name) for name in TUNABLE | {"seed": int}}
    return {
        "data": parts.digest().hex()[:16],
        # Without defaults, so a study stays the same when a later version adds a setting.
        "settings": repr({name: value for name, value in settings.items() if value != getattr(defaults, name)}),
        "search space": repr(sorted(space.dimensions.items())),
    }
