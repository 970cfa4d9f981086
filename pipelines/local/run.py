"""One local run of the training pipeline (`two-tower run`), and the files that it writes: run.json and the report."""

import contextlib
import json
import platform
import shlex
import shutil
import sys
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from kfp import local
from kfp.dsl.base_component import BaseComponent
from rich.console import Console

from pipelines.cli.options import check_instant
from pipelines.cli.run_progress import RunProgress
from pipelines.exit_status import ExitStatus
from pipelines.local.checks import check_service
from pipelines.local.outcome import explain, next_steps, quality
from pipelines.local.runner import LocalRun, artifact, display_names
from pipelines.local.runner import run as run_locally
from pipelines.local.settings import settings_from
from pipelines.training import training, training_on_dataset
from two_tower.config import Settings, TrainConfig
from two_tower.datasets import DATASETS, locate
from two_tower.datasets import fingerprint as dataset_fingerprint
from two_tower.datasets.prepare import REPOSITORIES
from two_tower.errors import InputError, unknown

RECORD = "run.json"
PINNED = ("two-tower", "torch", "onnx", "onnxruntime-gpu", "feast", "great-expectations", "kfp")


class Runner(StrEnum):
    """The environment that executes the steps of a run."""

    SUBPROCESS = "subprocess"
    DOCKER = "docker"


@dataclass(frozen=True)
class Request:
    """Checked options of `two-tower run`."""

    name: str
    feature_repo: Path | None
    data_dir: Path | None
    out: Path
    as_of: str
    settings: Settings
    runner: Runner
    assignments: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        """Command line of this run, with the options that decide what it trains on."""
        source = ["--feature-repo", str(self.feature_repo)] if self.feature_repo else ["--dataset", self.name]
        options = {"--data-dir": self.data_dir, "--as-of": self.as_of, "--out": self.out}
        given = [text for name, value in options.items() if value for text in (name, str(value))]
        settings = [text for assignment in self.assignments for text in ("--set", assignment)]
        return shlex.join(["two-tower", "run", *source, *given, *settings])

    @classmethod
    def of(
        cls,
        dataset: str | None,
        feature_repo: Path | None,
        data_dir: Path | None,
        out: Path | None,
        as_of: str,
        assignments: list[str],
        runner: Runner = Runner.SUBPROCESS,
    ) -> Self:
        """Check the options.

        Raises:
            InputError: An option is missing, unknown or malformed, or the feature repository does not exist.
        """
        if (dataset is None) == (feature_repo is None):
            raise InputError("pass either --dataset NAME or --feature-repo DIR.")
        if feature_repo is not None and not (feature_repo / "feature_store.yaml").is_file():
            raise InputError(
                f"--feature-repo {feature_repo} is not a Feast feature repository: feature_store.yaml is missing. "
                "Check the path."
            )
        if as_of:
            check_instant(as_of)
        if dataset is not None and dataset not in DATASETS:
            raise unknown("data set", dataset, DATASETS)
        name = dataset or feature_repo.resolve().name  # type: ignore[union-attr]
        folder = feature_repo or REPOSITORIES / name.replace("-", "_")
        out = (out or Path("runs") / name).resolve()
        return cls(
            name, feature_repo, data_dir, out, as_of, settings_from(folder, assignments), runner, tuple(assignments)
        )


def config_arguments(settings: Settings) -> dict[str, str]:
    """Parameters of the pipeline that hold settings, one per section."""
    return {
        "pull_config": settings.pull.to_json(),
        "train_config": settings.train.to_json(),
        "evaluation_config": settings.evaluation.to_json(),
        "deploy_config": settings.deploy.to_json(),
    }


def run_training(request: Request, out: Console, err: Console, *, debug: bool = False) -> int:
    """Run the pipeline, write run.json and report.html to `request.out`, and return the exit status.

    Args:
        request: Options of the run.
        out: Console for results.
        err: Console for errors and the reasons of a gate.
        debug: Print the traceback of a step that fails with an unexpected error.
    """
    settings = request.settings
    if request.runner == Runner.SUBPROCESS:
        check_plugins(settings.train)
        check_service(settings.deploy)
    request.out.mkdir(parents=True, exist_ok=True)
    if not settings.train.checkpoints:
        # Outside the folders of the steps, which are new in each run.
        settings = settings.with_values({"checkpoints": str(request.out / "checkpoints")})
    common = {
        "releases": str(request.out / "releases"),
        "as_of": request.as_of,
        **config_arguments(settings),
    }
    if request.feature_repo:
        from two_tower.data.fingerprint import fingerprint

        repo = request.feature_repo.resolve()
        pipeline, source = training, {"feature_repo": str(repo), "fingerprint": fingerprint(repo)}
    else:
        data_dir = _raw_files(request)
        pipeline, source = (
            training_on_dataset,
            {
                "dataset": request.name,
                "data_dir": str(data_dir or ""),
                "fingerprint": dataset_fingerprint(request.name, data_dir),
            },
        )
    total = len(display_names(pipeline))
    with _runner(request, pipeline) as runner, RunProgress.open(out, request.out, total) as progress:
        done = run_locally(
            pipeline, {**common, **source}, request.out, progress.on_line, runner, on_start=progress.on_start
        )
    return _conclude(request, done, out, err, debug=debug)


def check_plugins(config: TrainConfig) -> None:
    """Check the plug-ins of the settings before the first step, which would otherwise run for minutes.

    Raises:
        InputError: A plug-in cannot be imported or breaks its protocol.
    """
    if not any(":" in name for name in (config.loss, config.negatives, config.history, config.callbacks)):
        return  # without plug-ins torch need not be imported here
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as in the steps, which run with `python -m`
    from two_tower.training.train import check_plugins as check

    check(config)


def _raw_files(request: Request) -> Path | None:
    """Folder of the raw files. It is located here for containers, which see only mounted folders."""
    if request.runner == Runner.DOCKER and DATASETS[request.name].source:
        return locate(request.name, request.data_dir).resolve()
    return request.data_dir.resolve() if request.data_dir else None


def _runner(request: Request, pipeline: BaseComponent) -> contextlib.AbstractContextManager[local.DockerRunner | None]:
    if request.runner == Runner.SUBPROCESS:
        return contextlib.nullcontext()
    from pipelines.local.containers import containers

    repo = request.feature_repo.resolve() if request.feature_repo else None
    data_dir = None if repo else _raw_files(request)
    return containers(
        pipeline,
        writable=[request.out, *([repo] if repo else [])],
        readable=[data_dir] if data_dir else [],
        feature_repo=repo,
        gpu=request.settings.train.device == "cuda",
    )


def _conclude(request: Request, done: LocalRun, out: Console, err: Console, *, debug: bool) -> int:
    summary_file = artifact(done, "report", "summary")
    summary = json.loads(summary_file.read_text()) if summary_file.exists() else {"metrics": {}, "gates": {}}
    status, error = _outcome(done)
    if status == ExitStatus.HELD:
        verdict = json.loads(error)
        summary["gates"] |= {verdict["gate"]: {"passed": False, "reasons": verdict["reasons"]}}
        summary["next"] = next_steps(
            verdict["gate"], verdict["reasons"], request.command, request.out, summary.get("advice", [])
        )
    elif status:
        assert done.failed is not None
        summary["error"] = {"message": f"step {done.failed.name} failed: {error}", "status": int(status)}
    if (file := artifact(done, "deploy", "verdict")).exists():
        verdict = json.loads(file.read_text())
        summary["gates"][verdict.pop("gate")] = verdict
    _write_run(request, done, summary)
    _write_pages(request, done, summary)
    if summary["metrics"]:
        out.print(quality(summary["metrics"]))
        if summary["split"]["method"] != "time":
            out.print(summary["split"]["meaning"], soft_wrap=True)
    if debug and status == ExitStatus.FAULT and done.failed:
        err.print(done.failed.traceback(), soft_wrap=True)
    explain(summary, done.output, request.out, out, err)
    return status


def _outcome(done: LocalRun) -> tuple[ExitStatus, str]:
    """The exit status, and the message of the error that ended the run."""
    if done.failed is None:
        return ExitStatus.DONE, ""
    name, message = done.failed.error() or ("", done.failed.fault())
    return ExitStatus.of_error(name), message


def _write_run(request: Request, done: LocalRun, summary: dict[str, Any]) -> None:
    record = {
        "dataset": request.name,
        "release": done.output,
        "metrics": summary["metrics"],
        "gates": summary["gates"],
        "steps": _steps(request, done),
        "versions": {name: version(name) for name in PINNED} | {"python": platform.python_version()},
        **{name: summary[name] for name in ("split", "baselines", "advice", "next", "error") if summary.get(name)},
    }
    (request.out / RECORD).write_text(json.dumps(record, indent=2) + "\n")


def _steps(request: Request, done: LocalRun) -> list[dict[str, Any]]:
    """Time and memory of each step, and its cost if `cost_per_hour` is set."""
    price = request.settings.report.cost_per_hour
    return [
        {
            "name": step.name,
            "seconds": round(step.seconds, 3),
            "cached": step.cached,
            "cpu_seconds": round(step.cpu_seconds, 3),
            "peak_memory_mb": round(step.peak_memory_mb, 1),
        }
        | ({"cost": round(step.seconds * price / 3600, 6)} if price else {})
        for step in done.steps
    ]


def _write_pages(request: Request, done: LocalRun, summary: dict[str, Any]) -> None:
    """Write the page of the data gate, and the report with the steps; a run that a gate held early gets a short one."""
    from two_tower.gates import Verdict
    from two_tower.report import RunReport, with_run, write

    out = request.out
    page, data = artifact(done, "report", "page"), artifact(done, "validate", "report")
    report = out / "report.html"
    if data.exists():
        shutil.copyfile(data, out / "data.html")
    if page.exists():
        shutil.copyfile(page, report)
    elif summary["gates"]:
        verdicts = [Verdict(gate=name, **verdict) for name, verdict in summary["gates"].items()]
        write(report, RunReport(title=request.name, verdicts=verdicts))
    else:
        report.unlink(missing_ok=True)  # the report of an earlier run in this folder
        return
    questions = summary["gates"].get("deploy", {}).get("details", {}).get("questions", ())
    steps = with_run(report.read_text(), _steps(request, done), done.output, summary.get("next", ()), questions)
    report.write_text(steps)
