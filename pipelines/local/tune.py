"""A search for settings on data that are pulled once (`two-tower tune`), and the files that it writes."""

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Column, Table

from pipelines.exit_status import ExitStatus
from pipelines.local.run import Request as RunRequest
from pipelines.local.settings import settings_from
from pipelines.local.trial_log import TrialLog
from two_tower.config import Settings, TrainConfig
from two_tower.errors import InputError
from two_tower.tuning.space import DEFAULT, Space, Value, format_value
from two_tower.tuning.trial import TrialResult, best_first

TABLE_ROWS = 5
PLACES = ("checkpoints", "device")  # settings of one machine, which best.toml leaves out
BEST, PAGE, ROWS, RECORD = "best.toml", "tune.html", "trials.csv", "tune.json"


@dataclass(frozen=True)
class Request:
    """Checked options of `two-tower tune`.

    Attributes:
        name: Name of the data.
        run: Source of the data, None if they are pulled already.
        pulled: Output of a pull step, None if the data are still to be pulled.
        out: Output folder.
        trials: Number of trials, including those of earlier calls.
        time_limit: Seconds after which no trial starts, None for no limit.
        space: Search space.
        settings: Settings that all trials share.
    """

    name: str
    run: RunRequest | None
    pulled: Path | None
    out: Path
    trials: int
    time_limit: float | None
    space: Space
    settings: Settings

    @classmethod
    def of(
        cls,
        dataset: str | None,
        feature_repo: Path | None,
        pulled: Path | None,
        data_dir: Path | None,
        out: Path | None,
        trials: int,
        time_limit: float | None,
        space: Path | None,
        assignments: list[str],
    ) -> Self:
        """Check the options.

        Raises:
            InputError: An option, a setting or the search space is not allowed, or the data do not exist.
        """
        if sum(source is not None for source in (dataset, feature_repo, pulled)) != 1:
            raise InputError("pass one of --dataset NAME, --feature-repo DIR and --pulled DIR.")
        search_space = Space.read(space or DEFAULT)
        if pulled is not None:
            if not (pulled / "pulled.json").is_file():
                raise InputError(
                    f"--pulled {pulled} is not the output of a pull step: pulled.json is missing. Pass the folder that "
                    "the pull step of a run wrote."
                )
            out = (out or Path("runs") / "tune").resolve()
            settings = settings_from(None, assignments)
            return cls(pulled.name, None, pulled, out, trials, time_limit, search_space, settings)
        run = RunRequest.of(dataset, feature_repo, data_dir, out, "", assignments)
        folder = run.out if out else run.out / "tune"
        return cls(run.name, run, None, folder, trials, time_limit, search_space, run.settings)


def tune(request: Request, out: Console, err: Console) -> int:
    """Run the search, write best.toml, trials.csv, tune.json and tune.html, and return the exit status."""
    from two_tower.data.parts import Parts
    from two_tower.training.train import choose_device
    from two_tower.tuning.objective import Training, popularity, shared_inputs, source
    from two_tower.tuning.study import open_study

    base, space = request.settings.train, request.space
    choose_device(base.device)  # before minutes are spent on the data
    request.out.mkdir(parents=True, exist_ok=True)
    with TrialLog.open(out, request.out / "tune.log", request.trials) as log:
        log.start("pulling the data")
        parts = Parts(request.pulled or _pulled(request))
        with open_study(request.out, space, shared_inputs(parts, base, space), base.seed) as study:
            rows = source(parts, base)
            training, baseline = Training(rows, base, request.out), popularity(rows)
            study.start_with(space.shared(base))
            log.start("searching", study.results())
            interrupted = False
            try:
                study.run(training, request.trials, request.time_limit, log.on_trial)
            except KeyboardInterrupt:
                interrupted = True
            trials, importance = study.results(), study.importance()
    status = _conclude(request, trials, importance, baseline, out, err)
    if not interrupted:
        return status
    err.print(f"interrupted after {len(trials)} of {request.trials} trials; the same command resumes the search")
    return ExitStatus.INTERRUPTED


def _pulled(request: Request) -> Path:
    """Folder of the pulled data; they are pulled again if their source or the settings of the pull have changed."""
    from two_tower.data.features import pull_into
    from two_tower.data.fingerprint import fingerprint
    from two_tower.datasets import fingerprint as dataset_fingerprint
    from two_tower.datasets.prepare import prepare

    run, folder, record = request.run, request.out / "pulled", request.out / "source.json"
    assert run is not None
    if run.feature_repo:
        repo, version = run.feature_repo, fingerprint(run.feature_repo)
    else:
        repo, version = request.out / "repo", dataset_fingerprint(run.name, run.data_dir)
    source = {"source": run.name, "version": version, "pull": asdict(request.settings.pull)}
    if record.is_file() and json.loads(record.read_text()) == source:
        return folder
    record.unlink(missing_ok=True)
    if not run.feature_repo:
        prepare(run.name, run.data_dir, repo)
    pull_into(repo.resolve(), request.settings.pull, None, folder)
    record.write_text(json.dumps(source))
    return folder


def _conclude(
    request: Request,
    trials: Sequence[TrialResult],
    importance: dict[str, float],
    baseline: float | None,
    out: Console,
    err: Console,
) -> int:
    """Write the files and print the result; the exit status is 1 if no trial finished."""
    from two_tower.report import tuning
    from two_tower.tuning.objective import METRIC

    best = next(iter(best_first(trials)), None)
    toml = settings_file(request.settings, best.values) if best else ""
    rows = [one.row(METRIC) for one in trials]
    record = {
        "metric": METRIC,
        "best": best.row(METRIC) if best else None,
        "popularity": baseline,
        "importance": importance,
        "trials": rows,
    }
    (request.out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    _write_rows(request.out / ROWS, rows)
    page = tuning.Search(
        title=f"Search for settings: {request.name}",
        metric=METRIC,
        space=request.space,
        trials=trials,
        importance=importance,
        toml=toml,
    )
    tuning.write(request.out / PAGE, page)
    if best is None:
        err.print(f"no trial has finished: {tuning.counts(trials) if trials else 'none was started'}")
        for why in sorted({one.why for one in trials if one.why}):
            err.print(f"  - {why}", soft_wrap=True)
        return ExitStatus.FAULT
    (request.out / BEST).write_text(f"# {METRIC} {best.value:.4f} on the validation window, by two-tower tune\n{toml}")
    _print_best(request, trials, best, METRIC, out)
    if baseline is not None:
        out.print(f"popularity on the same events: {METRIC} {baseline:.4f}")
    return ExitStatus.DONE


def settings_file(settings: Settings, values: Mapping[str, Value]) -> str:
    """Text of a two_tower.toml: these settings, with these values, without those that equal the defaults."""
    return "".join(f"{name} = {json.dumps(value)}\n" for name, value in _changed_settings(settings, values).items())


def set_options(settings: Settings, values: Mapping[str, Value]) -> str:
    """The `--set` options that give a run the settings of `settings_file`, whatever its two_tower.toml has."""
    base = asdict(settings.train)
    changed = _changed_settings(settings, values)
    changed |= {name: value for name, value in values.items() if value != base[name]}
    return " ".join(f"--set {shlex.quote(f'{name}={_assigned(value)}')}" for name, value in changed.items())


def _assigned(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _changed_settings(settings: Settings, values: Mapping[str, Value]) -> dict[str, Value]:
    """These settings, with these values, without those that equal the defaults or belong to one machine."""
    changed, kept = settings.with_values(dict(values)), dict[str, Value]()
    for name, section in changed.sections().items():
        defaults = asdict(getattr(Settings(), name))
        kept |= {key: value for key, value in asdict(section).items() if value != defaults[key] and key not in PLACES}
    return kept


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def _print_best(request: Request, trials: Sequence[TrialResult], best: TrialResult, metric: str, out: Console) -> None:
    from two_tower.report.tuning import counts

    base = request.settings.train
    table = Table("trial", Column(metric, no_wrap=True), "epochs", "s", "changed settings", title=counts(trials))
    for one in best_first(trials)[:TABLE_ROWS]:
        changes = ", ".join(f"{name} {format_value(value)}" for name, value in _changes(one, base).items())
        table.add_row(str(one.number), f"{one.value:.4f}", str(len(one.curve)), f"{one.seconds:.0f}", changes)
    out.print(table)
    current = next((one for one in trials if one.value is not None and not _changes(one, base)), None)
    if current is not None:
        out.print(f"current settings, trial {current.number}: {current.value:.4f}")
    sets = set_options(request.settings, best.values)
    out.print(f"best:   {request.out / BEST} (copy it into two_tower.toml of the repository)", soft_wrap=True)
    if sets:
        out.print(f"        or pass {sets}", soft_wrap=True)
    out.print(f"report: {request.out / PAGE}", soft_wrap=True)
    out.print("To measure it on the test window: two-tower run with these settings", soft_wrap=True)


def _changes(one: TrialResult, base: TrainConfig) -> dict[str, Value]:
    """Values of a trial that differ from the current settings."""
    return {name: value for name, value in one.values.items() if value != getattr(base, name)}
