"""Watches a run on a cluster until it ends, and gives the exit status that the same run would have locally."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipelines.exit_status import ExitStatus
from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.run_tasks import (
    Run,
    StepState,
    pending_pods,
    pod_name,
    pods,
    possible_pods,
    step_names,
    steps,
    was_stopped,
)
from pipelines.kubeflow.submit import Endpoint, refused
from pipelines.local.runner import Step
from two_tower.errors import InputError
from two_tower.http_json import NotAnApiError, call

POLL_EVERY = 5.0  # seconds between two requests for the state of the run
LATE = 3  # looks at a run that has failed before its tasks say where
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
_GATE = re.compile(r"gate(-\d+)?")
# Lines of Kubeflow's launcher and executor, between and after those of the step.
_LAUNCHER = re.compile(r"[IWEF]\d{4} \d\d:\d\d:\d\d\.\d+ +\d+ [\w.]+:\d+\] |\[KFP Executor ")


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        status: Exit status.
        step: Failed step, empty if none failed.
        reasons: Reasons of the gate, or the message of the error that ended the step; empty if no log could be read.
        stopped: Whether somebody stopped the run.
    """

    status: ExitStatus
    step: str = ""
    reasons: tuple[str, ...] = ()
    stopped: bool = False


class NoAnswerError(RuntimeError):
    """The Pipelines API has not answered for too long; the run goes on."""


@dataclass
class RunWatcher:
    """Polls a run until it ends.

    Attributes:
        endpoint: Pipelines API.
        cluster: Settings of the cluster: how long to wait for an answer, and for a pending pod before it is reported.
        names: Key of each step in the compiled DAG -> its name, for a run whose answer has no pipeline.
        on_step: Called when a step starts or ends, and when it is tried again.
        on_note: Called with a sentence about something that lasts: a pod that is pending, an API that does not answer.
        poll_every: Seconds between two requests.
    """

    endpoint: Endpoint
    cluster: ClusterConfig
    names: Mapping[str, str]
    on_step: Callable[[StepState], None]
    on_note: Callable[[str], None]
    poll_every: float = POLL_EVERY
    _seen: dict[str, set[str]] = field(default_factory=dict)
    _pending_since: dict[str, float] = field(default_factory=dict)
    _noted: bool = False

    def watch(self, run_id: str) -> RunResult:
        """Wait for the end of a run.

        Raises:
            InputError: The API refuses the token, or a login page answers in its place.
            NoAnswerError: The API has not answered for `api_minutes`.
        """
        looks = 0
        while True:
            run = self._get(run_id)
            started = steps(run, step_names(run.get("pipeline_spec") or {}) or self.names)
            for step in started:
                self._report(step)
            if run.get("state") in ENDED:
                failed = [step for step in started if step.state == "failed"]
                looks += 1
                if run["state"] != "FAILED" or was_stopped(run) or failed or looks == LATE:
                    return self._result(run_id, run, failed or [s for s in started if s.state == "running"])
            else:
                self._look_for_pending(run_id, run, started)
            time.sleep(self.poll_every)

    def _get(self, run_id: str) -> Run:
        """Answer of the API. While there is none, or an error of the server, wait: the run goes on without us."""
        url = f"{self.endpoint.host}/apis/v2beta1/runs/{run_id}"
        began, noted = time.monotonic(), False
        while True:
            try:
                reply = call("GET", url, headers=self.endpoint.headers())
                if reply.status in (401, 403):
                    raise InputError(refused(self.endpoint.host, reply.status, reply.body))
                if reply.status == 200 and isinstance(reply.body, dict) and reply.body.get("run_id"):
                    return reply.body
                problem = f"HTTP {reply.status}"
            except OSError as error:
                problem = str(getattr(error, "reason", error))
            if time.monotonic() - began > 60 * self.cluster.api_minutes:
                raise NoAnswerError(
                    f"{self.endpoint.host} has not given the state of the run for {self.cluster.api_minutes:g} minutes "
                    f"({problem}). The run goes on."
                )
            if not noted:
                self.on_note(f"no state of the run from {self.endpoint.host} ({problem}); asking again …")
                noted = True
            time.sleep(self.poll_every)

    def _report(self, step: StepState) -> None:
        """Report the start, the first retry and the end of a step."""
        seen = self._seen.setdefault(step.key, set())
        event = "retried" if step.state == "running" and step.attempts > 1 else step.state
        if event not in seen:
            seen.add(event)
            self.on_step(step)

    def _look_for_pending(self, run_id: str, run: Run, started: list[StepState]) -> None:
        """Report once that pods have been pending for `pending_minutes`."""
        waiting = pending_pods(run)
        now = time.monotonic()
        self._pending_since = {pod: self._pending_since.get(pod, now) for pod in waiting}
        longest = max((now - since for since in self._pending_since.values()), default=0.0)
        if longest <= 60 * self.cluster.pending_minutes:
            self._noted = self._noted and bool(waiting)
        elif not self._noted:
            self._noted = True
            running = [step for step in started if step.state == "running"]
            drivers = [self.names[key] for key in waiting.values() if key in self.names]
            steps_ = list(dict.fromkeys([*(step.name for step in running), *drivers]))
            self.on_note(self._pending_message(steps_, run_id, self._event(run, running)))

    def _event(self, run: Run, running: list[StepState]) -> str:
        """The newest warning of Kubernetes about the pods of the running steps; empty if it cannot be read.

        The user interface gives events, and the API server does not (frontend/server/handlers/pod-info.ts, read).
        """
        for node in (pods(run, step.key)[-1] for step in running if pods(run, step.key)):
            query = f"podname={pod_name(node)}&podnamespace={self.endpoint.namespace or 'kubeflow'}"
            try:
                reply = call("GET", f"{self.endpoint.host}/k8s/pod/events?{query}", headers=self.endpoint.headers())
            except (OSError, NotAnApiError):
                continue
            items = reply.body.get("items", []) if reply.status == 200 and isinstance(reply.body, dict) else []
            if warnings := [event for event in items if event.get("type") == "Warning" and event.get("message")]:
                return str(max(warnings, key=lambda event: str(event.get("lastTimestamp") or ""))["message"])
        return ""

    def _pending_message(self, running: list[str], run_id: str, event: str) -> str:
        config, namespace = self.cluster, self.endpoint.namespace or "kubeflow"
        if "train" in running and config.accelerators:
            resources = f"{config.accelerators} × {config.accelerator}"
            hint = (
                "Add such a node, or submit with --set train_tolerations=KEY:NoSchedule or --set accelerators=0 (CPU)."
            )
        else:
            resources = "CPU and memory of a node, the quota of the namespace, its volumes or its image"
            hint = "Request less by --set data_memory=… or model_memory=…, or correct the image or the volume."
        return (
            f"{' or '.join(running) or 'the run'} has been pending for {config.pending_minutes:g} minutes: "
            + (f"Kubernetes reports: {event.strip().rstrip('.')}. " if event else f"its pod waits for {resources}. ")
            + f"`kubectl -n {namespace} describe pods -l pipeline/runid={run_id}` and `kubectl -n {namespace} describe "
            f"quota` show what is missing. {hint} Still waiting."
        )

    def _result(self, run_id: str, run: Run, failed: list[StepState]) -> RunResult:
        if run["state"] == "SUCCEEDED":
            return RunResult(ExitStatus.DONE)
        if was_stopped(run):
            return RunResult(ExitStatus.FAULT, reasons=("the run was stopped",), stopped=True)
        logs = [(step, self._log(run_id, run, step)) for step in failed]
        for step, lines in logs:
            if error := Step(step.name, lines=lines).error():
                return _of_error(step, *error)
        for step, lines in logs:
            if _GATE.fullmatch(step.key) and not lines:
                return RunResult(ExitStatus.HELD, step.name)
        step, lines = next(((step, lines) for step, lines in logs if lines), logs[0] if logs else (None, []))
        reason = Step(step.name, lines=lines).fault() if step and lines else ""
        return RunResult(ExitStatus.FAULT, step.name if step else "", (reason,) if reason else ())

    def _log(self, run_id: str, run: Run, step: StepState) -> list[str]:
        """Lines that the last pod of a step printed; empty if the cluster does not give them."""
        for node in pods(run, step.key)[::-1] or possible_pods(run, step.key):
            for url in self._log_addresses(run_id, run, node):
                try:
                    reply = call("GET", url, headers=self.endpoint.headers())
                except (OSError, NotAnApiError):  # the message is lost, or a page of the user interface answers
                    continue
                text = reply.body if reply.status == 200 and isinstance(reply.body, str) else ""
                if text:
                    return [line for line in text.splitlines() if not _LAUNCHER.match(line)]
        return []

    def _log_addresses(self, run_id: str, run: Run, node: str) -> Iterator[str]:
        """Routes to the log of a pod: of the API server, and of the user interface, which does not forward that one."""
        host = self.endpoint.host
        yield f"{host}/apis/v1alpha1/runs/{run_id}/nodes/{node}/log"
        created = str(run.get("created_at") or "")[:10]
        yield (
            f"{host}/k8s/pod/logs?podname={pod_name(node)}&runid={run_id}&createdat={created}"
            f"&podnamespace={self.endpoint.namespace or 'kubeflow'}"
        )


def _of_error(step: StepState, name: str, message: str) -> RunResult:
    """Result of a step that ended with an error of this project; the message of a gate is JSON (see `gates.hold`)."""
    status = ExitStatus.of_error(name)
    if status != ExitStatus.HELD:
        return RunResult(status, step.name, (message,))
    verdict: dict[str, Any] = json.loads(message)
    return RunResult(status, step.name, tuple(verdict["reasons"]))
