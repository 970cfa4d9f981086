"""`two-tower tune`: a search for settings on data that are pulled once, and what it leaves for people and scripts."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pipelines.kubeflow.trial_log import TrialLog
from pipelines.local.run import Request as Line
from pipelines.local.settings import settings_from
from two_tower.config import Settings, TrainConfig
from two_tower.errors import InputError
from two_tower.tuning.space import DEFAULT, Space, Value, shown
from two_tower.tuning.tried import Tried, ranked

SHOWN = 5  # trials in the table
PLACES = ("checkpoints", "device")  # settings of a machine, which a repository's file does not name
BEST, PAGE, ROWS, RECORD = "best.toml", "tune.html", "trials.csv", "tune.json"


@dataclass(frozen=True)
class Request:
    """What the command line asked for, checked. line: where the data come from, None where they are pulled already."""

    name: str
    line: Line | None
    pulled: Path | None
    out: Path
    trials: int
    minutes: float | None
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
        minutes: float | None,
        space: Path | None,
        assignments: list[str],
    ) -> Self:
        if sum(given is not None for given in (dataset, feature_repo, pulled)) != 1:
            raise InputError("name one of --dataset NAME, --feature-repo DIR and --pulled DIR.")
        searched = Space.read(space or DEFAULT)
        if pulled is not None:
            if not (pulled / "pulled.json").is_file():
                raise InputError(f"--pulled {pulled}: no pulled.json there. Give the folder that a pull step wrote.")
            out = (out or Path("runs") / "tune").resolve()
            return cls(pulled.name, None, pulled, out, trials, minutes, searched, settings_from(None, assignments))
        line = Line.of(dataset, feature_repo, data_dir, out, "", assignments)
        folder = line.out if out else line.out / "tune"
        return cls(line.name, line, None, folder, trials, minutes, searched, line.settings)


def tune(request: Request, out: Console, err: Console) -> int:
    """Search, tell, and leave best.toml, trials.csv, tune.json and tune.html; returns the exit status."""
    from two_tower.data.parts import Parts
    from two_tower.training.train import choose_device
    from two_tower.tuning.objective import Training, made_of, source
    from two_tower.tuning.study import opened

    base, space = request.settings.train, request.space
    choose_device(base.device)  # before minutes are spent on the data
    request.out.mkdir(parents=True, exist_ok=True)
    with TrialLog.on(out, request.out / "tune.log", request.trials) as log:
        log.began("pulling the data")
        parts = Parts(request.pulled or _pulled(request))
        with opened(request.out, space, made_of(parts, base, space), base.seed) as study:
            training = Training(source(parts, base), base, request.out)
            study.first(space.shared(base))
            log.began("searching", study.tried())
            seconds = request.minutes * 60 if request.minutes is not None else None
            interrupted = False
            try:
                study.run(training, request.trials, seconds, log.ended)
            except KeyboardInterrupt:
                interrupted = True
            tried, importance = study.tried(), study.importance()
    if interrupted:
        err.print(f"interrupted after {len(tried)} of {request.trials} trials; the same command goes on")
    return max(_conclude(request, tried, importance, out, err), int(interrupted))


def _pulled(request: Request) -> Path:
    """The pulled data under `request.out`; pulled again where their source or the settings of the pull have changed."""
    from two_tower.data.features import pull_into
    from two_tower.data.fingerprint import fingerprint
    from two_tower.datasets import fingerprint as dataset_fingerprint
    from two_tower.datasets.prepare import prepare

    line, folder, said = request.line, request.out / "pulled", request.out / "source.json"
    assert line is not None
    if line.feature_repo:
        repo, version = line.feature_repo, fingerprint(line.feature_repo)
    else:
        repo, version = request.out / "repo", dataset_fingerprint(line.name, line.data_dir)
    source = {"source": line.name, "version": version, "pull": asdict(request.settings.pull)}
    if said.is_file() and json.loads(said.read_text()) == source:
        return folder
    said.unlink(missing_ok=True)
    if not line.feature_repo:
        prepare(line.name, line.data_dir, repo)
    pull_into(repo.resolve(), request.settings.pull, None, folder)
    said.write_text(json.dumps(source))
    return folder


def _conclude(
    request: Request, tried: Sequence[Tried], importance: dict[str, float], out: Console, err: Console
) -> int:
    """Write the files and tell what was found; 1 where no trial finished."""
    from two_tower.report import tuning
    from two_tower.tuning.objective import METRIC

    best = next(iter(ranked(tried)), None)
    toml = settings_file(request.settings, best.values) if best else ""
    rows = [one.row(METRIC) for one in tried]
    record = {"metric": METRIC, "best": best.row(METRIC) if best else None, "importance": importance, "trials": rows}
    (request.out / RECORD).write_text(json.dumps(record, indent=1) + "\n")
    _write_rows(request.out / ROWS, rows)
    page = tuning.Search(
        title=f"Search for settings: {request.name}",
        metric=METRIC,
        space=request.space,
        tried=tried,
        importance=importance,
        toml=toml,
    )
    tuning.write(request.out / PAGE, page)
    if best is None:
        err.print(f"no trial has finished: {tuning.counts(tried) if tried else 'none was made'}")
        for why in sorted({one.why for one in tried if one.why}):
            err.print(f"  - {escape(why)}", soft_wrap=True)
        return 1
    (request.out / BEST).write_text(f"# {METRIC} {best.value:.4f} on the validation window, by two-tower tune\n{toml}")
    _tell(request, tried, best, METRIC, out)
    return 0


def settings_file(settings: Settings, values: Mapping[str, Value]) -> str:
    """The lines of a two_tower.toml: these settings with these values, as far as they are not the defaults."""
    found, lines = settings.with_values(dict(values)), []
    for section in fields(found):
        mine, usual = getattr(found, section.name), getattr(Settings(), section.name)
        for f in fields(mine):
            value = getattr(mine, f.name)
            if value != getattr(usual, f.name) and f.name not in PLACES:
                lines.append(f"{f.name} = {json.dumps(value)}\n")
    return "".join(lines)


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else ["trial"])
        writer.writeheader()
        writer.writerows(rows)


def _tell(request: Request, tried: Sequence[Tried], best: Tried, metric: str, out: Console) -> None:
    from two_tower.report.tuning import counts

    base = request.settings.train
    table = Table("trial", Column(metric, no_wrap=True), "epochs", "s", "unlike the settings now", title=counts(tried))
    for one in ranked(tried)[:SHOWN]:
        unlike = ", ".join(f"{name} {shown(value)}" for name, value in _unlike(one, base).items())
        table.add_row(str(one.number), f"{one.value:.4f}", str(len(one.curve)), f"{one.seconds:.0f}", unlike)
    out.print(table)
    now = next((one for one in tried if one.value is not None and not _unlike(one, base)), None)
    if now is not None:
        out.print(f"the settings now, trial {now.number}: {now.value:.4f}")
    sets = " ".join(f"--set {name}={shown(value)}" for name, value in _unlike(best, base).items())
    out.print(f"best:   {request.out / BEST}, for the repository's two_tower.toml", soft_wrap=True)
    if sets:
        out.print(f"        or {sets}", soft_wrap=True)
    out.print(f"report: {request.out / PAGE}", soft_wrap=True)
    out.print("what it is worth on the test window: two-tower run with these settings", soft_wrap=True)


def _unlike(one: Tried, base: TrainConfig) -> dict[str, Value]:
    """The values that are others than those of the settings now."""
    return {name: value for name, value in one.values.items() if value != getattr(base, name)}
