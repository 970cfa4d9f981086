"""A study: sequential trials, each drawn from the results of the earlier ones. It is stored in a file and can resume.

The sampler is the tree-structured Parzen estimator (Bergstra et al., "Algorithms for Hyper-Parameter Optimization",
NeurIPS 2011). A trial whose best value is below the median of the others at the same epoch is pruned (the median
stopping rule of Golovin et al., "Google Vizier", KDD 2017). This is the only module that uses Optuna.
"""

import fcntl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.trial import FrozenTrial, Trial, TrialState

from two_tower.errors import InputError
from two_tower.tuning.space import Choices, Dimension, Space, Value
from two_tower.tuning.trial import TrialResult

FILE, LOCK = "study.log", "study.lock"
NAME = "two-tower"
RANDOM = 5  # trials before the sampler uses the earlier ones: the current settings, then random ones
COMPARED = 4  # finished trials before the first pruning
GRACE = 2  # epochs of a trial without pruning
IMPORTANCE_FROM = 5  # least number of finished trials for the importance of settings
_WHY = "why"  # attribute of an unfit trial

Report = Callable[[float], None]
Objective = Callable[[Mapping[str, Value], Report], float]


PrunedError = optuna.TrialPruned  # an objective's `report` raises it if the trial is worse than the others


class UnfitError(Exception):
    """Training with these values is not possible; the message gives the reason. The search continues with others."""


class Study:
    """The past and future trials of a search; `open_study` makes one."""

    def __init__(self, study: optuna.Study, space: Space, seed: int) -> None:
        self._study, self._seed = study, seed
        self._distributions = {name: _distribution(d) for name, d in space.dimensions.items()}

    def start_with(self, values: Mapping[str, Value]) -> None:
        """Set the values of the first trial. This has no effect if the study has a trial already.

        Args:
            values: Value by setting; settings without a value are drawn.
        """
        if values and not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(values))

    def results(self) -> list[TrialResult]:
        """Return the results of the trials that have ended, in order."""
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [_result(number, trial) for number, trial in enumerate(ended, start=1)]

    def run(
        self,
        objective: Objective,
        trials: int,
        seconds: float | None = None,
        callback: Callable[[TrialResult], None] = lambda _: None,
    ) -> None:
        """Run trials until the study has enough of them.

        If the objective raises another error than UnfitError or PrunedError, or the process is interrupted, the next
        process repeats the trial.

        Args:
            objective: Function of the values and of a function to call with the metric of each epoch. It returns the
                metric of the trial; higher is better.
            trials: Number of trials in the study, earlier ones included.
            seconds: Stop starting trials after this time. Default: no limit.
            callback: Function to call with the result of each trial.
        """
        until = time.monotonic() + seconds if seconds is not None else float("inf")
        while (done := len(self.results())) < trials and time.monotonic() < until:
            # A seed per trial: a resumed study draws the same values as an uninterrupted one.
            self._study.sampler = optuna.samplers.TPESampler(
                seed=(self._seed * 1_000_003 + done) % 2**32, n_startup_trials=RANDOM
            )
            self._attempt(self._study.ask(self._distributions), objective)
            callback(self.results()[-1])

    def _attempt(self, trial: Trial, objective: Objective) -> None:
        epochs = 0

        def report(value: float) -> None:
            nonlocal epochs
            epochs += 1
            trial.report(value, step=epochs)
            if trial.should_prune():
                raise PrunedError

        same = next((t for t in self.results() if t.value is not None and t.values == trial.params), None)
        if same is not None:  # training is deterministic, so the result would be the same
            self._study.tell(trial, same.value)
            return
        try:
            value = objective(trial.params, report)
        except UnfitError as error:
            trial.set_user_attr(_WHY, str(error))
            self._study.tell(trial, state=TrialState.PRUNED)
        except PrunedError:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, value)

    def importance(self) -> dict[str, float]:
        """Compute the importance of each setting for being among the best tenth of the trials.

        Returns:
            Shares by setting, the largest first. Empty if fewer than IMPORTANCE_FROM trials have finished.

        Source:
            Watanabe et al., "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
            IJCAI 2023.
        """
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < IMPORTANCE_FROM or len({trial.value for trial in finished}) == 1:
            return {}
        return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())


@contextmanager
def open_study(folder: Path, space: Space, shared: Mapping[str, str], seed: int) -> Iterator[Study]:
    """Open or resume the study in a folder; one process at a time.

    Args:
        folder: Folder of the study.
        space: Search space.
        shared: What all trials share, as a text or hash by name.
        seed: Seed of the sampler.

    Yields:
        The study.

    Raises:
        InputError: The study in the folder has trials on other data, settings or search space, or another process uses
            it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder} is in use by another search. Wait for it, or give another --out.") from error
        file = folder / FILE
        _mend(file)
        storage = JournalStorage(JournalFileBackend(str(file), lock_obj=_NoLock(str(file))))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=GRACE + 1)
        study = optuna.create_study(
            storage=storage, study_name=NAME, direction="maximize", pruner=pruner, load_if_exists=True
        )
        _check_same(folder, study, shared)
        _repeat_interrupted(study)
        yield Study(study, space, seed)


class _NoLock(JournalFileSymlinkLock):
    """A lock that does nothing: `open_study` holds a file lock, which the system releases when the process ends."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...


def _mend(file: Path) -> None:
    """Remove an incomplete last line, which an interrupted process left."""
    whole = file.read_bytes() if file.exists() else b""
    if whole and not whole.endswith(b"\n"):
        with file.open("r+b") as journal:
            journal.truncate(whole.rfind(b"\n") + 1)


def _check_same(folder: Path, study: optuna.Study, shared: Mapping[str, str]) -> None:
    """Raise InputError if the trials of the study are not comparable with new ones."""
    for name, value in shared.items():
        if study.user_attrs.get(name, value) != value:
            raise InputError(
                f"{folder} contains a search with other {name}, so its trials are not comparable with new ones. Use "
                f"the {name} of that search, or give another --out."
            )
        if name not in study.user_attrs:
            study.set_user_attr(name, value)


def _repeat_interrupted(study: optuna.Study) -> None:
    """Repeat the trials of an interrupted process before new ones."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _result(number: int, trial: FrozenTrial) -> TrialResult:
    why = trial.user_attrs.get(_WHY, "")
    finished = trial.state == TrialState.COMPLETE
    return TrialResult(
        number=number,
        state="finished" if finished else "unfit" if why else "pruned",
        value=trial.value if finished else None,
        values=trial.params,
        curve=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        why=why,
    )
