"""`two-tower submit`: submits a run and, with --wait, prints its progress and its result."""

import json
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from pipelines.cli.progress import Progress, same_file
from pipelines.exit_status import ExitStatus
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.run_watcher import RunResult, RunWatcher
from pipelines.kubeflow.schedule import cron
from pipelines.kubeflow.submit import Endpoint, Source, schedule, submit
from pipelines.local.run import check_instant
from two_tower.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Request:
    """Options of the command; see its help."""

    host: str
    token: str
    namespace: str
    pipeline: str
    dataset: str | None
    data_dir: str
    feature_repo: str | None
    releases: str
    as_of: str
    fingerprint: str
    experiment: str
    schedule: str | None
    wait: bool
    assignments: tuple[str, ...]


def submit_request(
    request: Request, out: Console, err: Console, poll_every: float = 5.0
) -> tuple[ExitStatus, dict[str, Any]]:
    """Submit a run, print its URL and, with --wait, wait for its end.

    Args:
        request: Options of the command.
        out: Receives the URL and the progress.
        err: Receives the reasons of a failed run.
        poll_every: Seconds between two requests for the state of the run.

    Returns:
        The exit status, and the result as a JSON document.

    Raises:
        InputError: An option is not allowed, or the API refuses the run.
    """
    plan = Plan.of("dataset" if request.dataset else request.pipeline, list(request.assignments))
    if request.schedule:
        cron(request.schedule)
    if request.schedule and request.wait:
        raise InputError("--wait is for one run and --schedule creates many. Remove one of the two options.")
    if request.as_of:
        check_instant(request.as_of)
    endpoint = Endpoint.of(request.host, request.token, request.namespace)
    source = Source(
        dataset=request.dataset,
        data_dir=request.data_dir,
        feature_repo=request.feature_repo,
        releases=request.releases,
        as_of=request.as_of,
        fingerprint=request.fingerprint,
    )
    if request.schedule:
        recurring_id = schedule(endpoint, plan, source, request.experiment, request.schedule)
        url = f"{endpoint.host}/#/recurringrun/details/{recurring_id}"
        out.print(f"recurring run: {url}", soft_wrap=True)
        return ExitStatus.DONE, {"recurring_run": recurring_id, "url": url}
    run_id = submit(endpoint, plan, source, request.experiment)
    url = endpoint.run_address(run_id)
    out.print(f"run: {url}", soft_wrap=True)
    document: dict[str, Any] = {"run": run_id, "url": url}
    if not request.wait:
        return ExitStatus.DONE, document
    with Progress(same_file(out)) as line:
        watcher = RunWatcher(endpoint, plan.cluster, lambda name, state: _print_state(line, name, state), poll_every)
        result = watcher.watch(run_id)
    _explain(result, url, out, err)
    if result.status:
        document |= {"step": result.step, "reasons": _reasons(result.reason)}
    return result.status, document | {"status": int(result.status)}


def _print_state(line: Progress, name: str, state: str) -> None:
    """Print the new state of a step; a terminal also shows how long the step has been in it."""
    marks = {"SUCCEEDED": "[green]✓[/]", "FAILED": "[red]✗[/]", "SKIPPED": "[cyan]=[/]"}
    line.console.print(f"{marks.get(state, '·')} {name:<17} {state.lower()}")
    if line.console.is_terminal:
        line.start(f"{name} {state.lower()}")


def _reasons(text: str) -> list[str]:
    """Reasons of a gate from the error of its step (see `gates.hold`), or the error itself."""
    try:
        return list(json.loads(text)["reasons"])
    except ValueError:  # not from a gate, or the cluster kept no log and gives its own message
        return [text] if text else []


def _explain(result: RunResult, url: str, out: Console, err: Console) -> None:
    if result.status == ExitStatus.DONE:
        out.print("promoted")
    elif result.status == ExitStatus.HELD:
        err.print(f"[bold yellow]held:[/] the {result.step} holds this release back")
        for reason in _reasons(result.reason):
            err.print(f"  - {escape(reason)}", soft_wrap=True)
    else:
        err.print(f"[bold red]error:[/] step {result.step or '?'} failed: {escape(result.reason)}", soft_wrap=True)
    if result.status:
        err.print(f"log and artifacts: {url}", soft_wrap=True)
