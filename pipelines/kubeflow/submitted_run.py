"""What `two-tower submit` does with its options, and what it says."""

import json
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape

from pipelines.cli.waiting import Waiting
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.schedule import cron
from pipelines.kubeflow.submit import Endpoint, Source, schedule, submit
from pipelines.local.run import check_instant
from pipelines.local.run_watcher import Ended, Follower
from two_tower.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command's options; see its help."""

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


def submit_request(request: Request, out: Console, err: Console, poll_every: float = 5.0) -> int:
    """Submit what was asked for, print its address, follow it if asked to, and return the exit status."""
    plan = Plan.of("dataset" if request.dataset else request.pipeline, list(request.assignments))
    if request.schedule:
        cron(request.schedule)
    if request.schedule and request.wait:
        raise InputError("--wait follows one run; a --schedule makes many. Leave one of them out.")
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
        made = schedule(endpoint, plan, source, request.experiment, request.schedule)
        out.print(f"recurring run: {endpoint.host}/#/recurringrun/details/{made}", soft_wrap=True)
        return 0
    run_id = submit(endpoint, plan, source, request.experiment)
    out.print(f"run: {endpoint.run_address(run_id)}", soft_wrap=True)
    if not request.wait:
        return 0
    with Waiting(Console(file=out.file, highlight=False)) as line:
        follower = Follower(endpoint, plan.cluster, lambda name, state: _tell(line, name, state), poll_every)
        ended = follower.follow(run_id)
    _explain(ended, endpoint.run_address(run_id), out, err)
    return ended.status


def _tell(line: Waiting, name: str, state: str) -> None:
    """A step's new state, and on a terminal for how long it has had it."""
    marks = {"SUCCEEDED": "[green]✓[/]", "FAILED": "[red]✗[/]", "SKIPPED": "[cyan]=[/]"}
    line.console.print(f"{marks.get(state, '·')} {name:<17} {state.lower()}")
    if line.console.is_terminal:
        line.now(f"{name} {state.lower()}")


def _reasons(text: str) -> list[str]:
    """A gate's reasons from what its step raised (see `gates.hold`)."""
    try:
        return list(json.loads(text)["reasons"])
    except ValueError:  # the cluster kept no log, and says in its own words that the step failed
        return [text] if text else []


def _explain(ended: Ended, address: str, out: Console, err: Console) -> None:
    if ended.status == 0:
        out.print("promoted")
    elif ended.status == 3:
        err.print(f"[bold yellow]held:[/] the {ended.step} holds this release back")
        for reason in _reasons(ended.reason):
            err.print(f"  - {escape(reason)}", soft_wrap=True)
    else:
        err.print(f"[bold red]error:[/] step {ended.step or '?'} failed: {escape(ended.reason)}", soft_wrap=True)
    if ended.status:
        err.print(f"its log and artifacts: {address}", soft_wrap=True)
