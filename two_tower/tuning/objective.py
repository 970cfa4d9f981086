"""One trial: towers trained with its values, and the validation metric that early stopping goes by."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.training.callbacks import Callback, Metrics, ProgressLog, TrainStart
from two_tower.training.streaming.source import stream_decision
from two_tower.training.train import TENSORBOARD, DivergedError, choose_device, train
from two_tower.tuning.space import TUNABLE, Space, Value, shown, with_values
from two_tower.tuning.study import PrunedError, Report, UnfitError

METRIC = "recall@20"  # of the validation window; the test window is for the one model that is chosen


@dataclass(frozen=True)
class Training:
    """An objective of `Study.run`.

    pulled: the tables, read once for all trials, or the folder of a pull whose rows stay on disk; see `source`.
    folder: takes TensorBoard's files of each trial, and the checkpoints of the running one, so that a trial that is
    tried again goes on.
    """

    pulled: Pulled | Path
    base: TrainConfig
    folder: Path

    def __call__(self, values: Mapping[str, Value], report: Report) -> float:
        checkpoints, working = self.folder / "checkpoints", self.folder / "working"
        try:
            config = replace(with_values(self.base, values), checkpoints=str(checkpoints))
        except InputError as error:  # each value is allowed by itself, but not with the others
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
        """Of a trial's model only TensorBoard's files stay, under the trial's values."""
        kept = self.folder / TENSORBOARD / ",".join(f"{name}={shown(value)}" for name, value in values.items())
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
    """What trials train on: the tables, or their folder where `base.stream` has the rows stay on disk."""
    streams, _ = stream_decision(parts, base, choose_device(base.device))
    return parts.folder if streams else Pulled.read(parts.folder)


def made_of(parts: Parts, base: TrainConfig, space: Space) -> dict[str, str]:
    """What the trials of a study have in common, for `study.opened`; where training runs is no part of it."""
    usual = TrainConfig()
    mine = {name: getattr(base, name) for name in TUNABLE | {"seed": int}}
    return {
        "data": parts.digest().hex()[:16],
        # Only what is not usual, so that a setting that a later version adds does not part a study from itself.
        "settings": repr({name: value for name, value in mine.items() if value != getattr(usual, name)}),
        "search space": repr(sorted(space.dimensions.items())),
    }
