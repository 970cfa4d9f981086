"""`two-tower submit`: submits a run and, with --wait, prints its progress and its result."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from rich.console import Console

from pipelines.cli.console import labelled
from pipelines.cli.options import check_instant
from pipelines.cli.progress import Progress, same_file
from pipelines.exit_status import ExitStatus
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.run_tasks import StepState, step_names
from pipelines.kubeflow.run_watcher import NoAnswerError, RunResult, RunWatcher
from pipelines.kubeflow.schedule import cron
from pipelines.kubeflow.submit import Endpoint, Source, schedule, stop, submit
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
    follow: str = ""
    stop: bool = False


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
    if request.follow:
        return _follow(request, out, err, poll_every)
    if request.stop:
        raise InputError("--stop needs the run: --follow RUN --stop.")
    plan = Plan.of("dataset" if request.dataset else request.pipeline, list(request.assignments))
    if request.schedule:
        cron(request.schedule)
    if request.schedule and request.wait:
        raise InputError("--wait is for one run and --schedule creates many. Remove one of the two options.")
    if request.as_of:
        check_instant(request.as_of)
    endpoint = _endpoint(request, err)
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
    if not request.wait:
        return ExitStatus.DONE, {"run": run_id, "url": url}
    return _wait(endpoint, plan, run_id, out, err, poll_every)


def _endpoint(request: Request, err: Console) -> Endpoint:
    """Check the endpoint, and warn if others can read the token on its way."""
    endpoint = Endpoint.of(request.host, request.token, request.namespace)
    if endpoint.sends_token_in_the_clear:
        message = f" the token is sent to {endpoint.host} without encryption; use https:// or `kubectl port-forward`"
        err.print(labelled("warning:", "bold yellow", message), soft_wrap=True)
    return endpoint


def _follow(request: Request, out: Console, err: Console, poll_every: float) -> tuple[ExitStatus, dict[str, Any]]:
    """Follow a run that was submitted before, or stop it."""
    plan = Plan.of("dataset" if request.dataset else request.pipeline, list(request.assignments))
    endpoint = _endpoint(request, err)
    if not request.stop:
        return _wait(endpoint, plan, request.follow, out, err, poll_every)
    stop(endpoint, request.follow)
    url = endpoint.run_address(request.follow)
    out.print(f"stopping: {url}", soft_wrap=True)
    return ExitStatus.DONE, {"run": request.follow, "url": url}


def _wait(
    endpoint: Endpoint, plan: Plan, run_id: str, out: Console, err: Console, poll_every: float
) -> tuple[ExitStatus, dict[str, Any]]:
    """Wait for the end of a run, and print its steps and its result."""
    url = endpoint.run_address(run_id)
    document: dict[str, Any] = {"run": run_id, "url": url}
    again = f"two-tower submit --host {endpoint.host} --follow {run_id}"
    try:
        with Progress(same_file(out)) as line:
            watcher = RunWatcher(
                endpoint,
                plan.cluster,
                names_of(plan),
                lambda step: _print_step(line, step),
                lambda note: line.console.print(labelled("!", "yellow", f" {note}"), soft_wrap=True),
                poll_every,
            )
            result = watcher.watch(run_id)
    except NoAnswerError as error:
        err.print(labelled("error:", "bold red", f" {error}\nfollow it: {again}\nrun: {url}"), soft_wrap=True)
        return ExitStatus.FAULT, document | {"status": int(ExitStatus.FAULT), "reasons": [str(error)]}
    except InputError as error:
        raise InputError(f"{error} The run continues; follow it with: {again}") from error
    except KeyboardInterrupt:
        err.print(f"the run goes on. Follow it: {again}\nstop it: {again} --stop", soft_wrap=True)
        raise
    _explain(result, run_id, endpoint, out, err)
    if result.status:
        document |= {"step": result.step, "reasons": list(result.reasons)}
    return result.status, document | {"status": int(result.status)}


def names_of(plan: Plan) -> dict[str, str]:
    """Name of each step by its key in the compiled DAG."""
    return step_names(json_format.MessageToDict(plan.built.pipeline_spec))


def _print_step(line: Progress, step: StepState) -> None:
    """Print that a step started, is tried again, or ended; a terminal also shows how long it has been running."""
    marks = {"succeeded": ("✓", "green"), "failed": ("✗", "red"), "reused": ("=", "cyan")}
    text = "reused" if step.state == "reused" else f"{step.seconds:.0f} s" if step.seconds is not None else "running"
    if step.attempts > 1:
        text += f", attempt {step.attempts}"
    mark = marks.get(step.state, ("·", ""))
    line.console.print(labelled(*mark, f" {step.name:<17} {text}"))
    if line.console.is_terminal and step.state == "running":
        line.start(f"{step.name} running")


def _explain(result: RunResult, run_id: str, endpoint: Endpoint, out: Console, err: Console) -> None:
    url = endpoint.run_address(run_id)
    if result.status == ExitStatus.DONE:
        out.print("promoted")
        return
    if result.stopped:
        err.print(labelled("stopped:", "bold yellow", " somebody stopped the run"))
    elif result.status == ExitStatus.HELD:
        err.print(labelled("held:", "bold yellow", f" the {result.step} holds this release back"))
        for reason in result.reasons:
            err.print(f"  - {reason}", soft_wrap=True)
    else:
        reason = f": {result.reasons[0]}" if result.reasons else ""
        err.print(labelled("error:", "bold red", f" step {result.step or '?'} failed{reason}"), soft_wrap=True)
    if not result.reasons:
        pods = f"kubectl -n {endpoint.namespace or 'kubeflow'} logs -l pipeline/runid={run_id} -c main --tail -1"
        err.print(f"its log could not be read from {endpoint.host}; try: {pods}", soft_wrap=True)
    err.print(f"log and artifacts: {url}", soft_wrap=True)
