"""A study: trials drawn one after the other, each told the past ones. It lies in a file and survives its process.

Drawn by the tree-structured Parzen estimator (Bergstra et al., Algorithms for Hyper-Parameter Optimization, NeurIPS
2011); a trial that after an epoch is below the median of the others at that epoch is given up (the median stopping rule
of Golovin et al., Google Vizier, KDD 2017). The only module that knows Optuna.
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
from two_tower.tuning.tried import Tried

FILE, LOCK = "study.log", "study.lock"
NAME = "two-tower"
RANDOM = 10  # trials drawn at random before the past ones are asked
COMPARED = 4  # trials that must have finished before one is given up
GRACE = 2  # epochs in which none is given up
TOLD_FROM = 5  # finished trials from which an importance is worth telling
_WHY = "why"  # attribute of a trial that could not be trained

Report = Callable[[float], None]
Objective = Callable[[Mapping[str, Value], Report], float]


PrunedError = optuna.TrialPruned  # what an objective's `report` raises where the trial fell behind


class UnfitError(Exception):
    """These values cannot be trained with; the message says why. The search goes on with others."""


class Study:
    """The trials so far, and those to come; `opened` makes one."""

    def __init__(self, study: optuna.Study, space: Space, seed: int) -> None:
        self._study, self._seed = study, seed
        self._distributions = {name: _distribution(d) for name, d in space.dimensions.items()}

    def first(self, values: Mapping[str, Value]) -> None:
        """Begin with these values; those not named are drawn. Nothing happens where a trial was made before."""
        if values and not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(values))

    def tried(self) -> list[Tried]:
        """The trials that have ended, in order."""
        ended = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        return [_tried(number, trial) for number, trial in enumerate(ended, start=1)]

    def run(
        self,
        objective: Objective,
        trials: int,
        seconds: float | None = None,
        told: Callable[[Tried], None] = lambda _: None,
    ) -> None:
        """Make trials until there are `trials` in all; none begins after so many seconds.

        objective: given the values, and a function to call with the figure of each epoch, the higher the better; it
        returns the trial's own. told: called with each trial that has ended. What the objective raises, and an
        interrupt, leave a trial that the next process tries again.
        """
        until = time.monotonic() + seconds if seconds is not None else float("inf")
        while (done := len(self.tried())) < trials and time.monotonic() < until:
            # Each by a seed of its own: a study that goes on draws what an unbroken one would have drawn.
            self._study.sampler = optuna.samplers.TPESampler(
                seed=(self._seed * 1_000_003 + done) % 2**32, n_startup_trials=RANDOM
            )
            self._attempt(self._study.ask(self._distributions), objective)
            told(self.tried()[-1])

    def _attempt(self, trial: Trial, objective: Objective) -> None:
        epochs = 0

        def report(value: float) -> None:
            nonlocal epochs
            epochs += 1
            trial.report(value, step=epochs)
            if trial.should_prune():
                raise PrunedError

        same = next((t for t in self.tried() if t.value is not None and t.values == trial.params), None)
        if same is not None:  # training is no game of chance: it would end as before
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
        """The share of each setting in what sets the best tenth of the trials apart, the largest first.

        By PED-ANOVA (Watanabe et al., IJCAI 2023). Empty while too few trials have finished to tell.
        """
        finished = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(finished) < TOLD_FROM or len({trial.value for trial in finished}) == 1:
            return {}
        return get_param_importances(self._study, evaluator=PedAnovaImportanceEvaluator())


@contextmanager
def opened(folder: Path, space: Space, made_of: Mapping[str, str], seed: int) -> Iterator[Study]:
    """The study in a folder, begun or taken up where it was left; one process at a time.

    made_of: a hash of each thing that its trials have in common, by its name. Raises InputError where the folder's
    study was made of others, and where another process works on it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"{folder}: another search works there. Wait for it, or name another --out.") from error
        file = folder / FILE
        _mend(file)
        storage = JournalStorage(JournalFileBackend(str(file), lock_obj=_Held(str(file))))
        pruner = optuna.pruners.MedianPruner(n_startup_trials=COMPARED, n_warmup_steps=GRACE + 1)
        study = optuna.create_study(
            storage=storage, study_name=NAME, direction="maximize", pruner=pruner, load_if_exists=True
        )
        _check_same(folder, study, made_of)
        _again(study)
        yield Study(study, space, seed)


class _Held(JournalFileSymlinkLock):
    """The journal's own lock, with which nothing is to do: `opened` holds one, and the system frees it of the dead."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None: ...


def _mend(file: Path) -> None:
    """Cut off a last line that its writer did not live to end."""
    whole = file.read_bytes() if file.exists() else b""
    if whole and not whole.endswith(b"\n"):
        with file.open("r+b") as journal:
            journal.truncate(whole.rfind(b"\n") + 1)


def _check_same(folder: Path, study: optuna.Study, made_of: Mapping[str, str]) -> None:
    """Raise InputError where the trials of the study would not compare with ours."""
    for name, value in made_of.items():
        if study.user_attrs.get(name, value) != value:
            raise InputError(
                f"{folder} holds a search with other {name}, whose trials do not compare with these. Give what it had, "
                "or name another --out."
            )
        if name not in study.user_attrs:
            study.set_user_attr(name, value)


def _again(study: optuna.Study) -> None:
    """Let the trials that a process left when it was killed be tried again, before new ones."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, Choices):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _tried(number: int, trial: FrozenTrial) -> Tried:
    why = trial.user_attrs.get(_WHY, "")
    finished = trial.state == TrialState.COMPLETE
    return Tried(
        number=number,
        state="finished" if finished else "unfit" if why else "pruned",
        value=trial.value if finished else None,
        values=trial.params,
        curve=tuple(value for _, value in sorted(trial.intermediate_values.items())),
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        why=why,
    )
