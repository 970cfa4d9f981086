"""Watches a run on a cluster until it ends, and gives the exit status that the same run would have locally."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import kfp
import urllib3

from pipelines.exit_status import ExitStatus
from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.submit import Endpoint, refusals
from pipelines.local.runner import Step
from two_tower.errors import InputError
from two_tower.http_json import call

POLL_EVERY = 5.0  # seconds between two requests for the state of the run
MAX_ATTEMPTS = 5  # requests in a row without a response until it is an error
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
DRIVERS = ("root-driver", "driver")  # pods of Kubeflow itself, not steps


@dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        status: Exit status.
        step: Failed step, empty if none failed.
        reason: Error message of the failed step, empty if it could not be read.
    """

    status: ExitStatus
    step: str = ""
    reason: str = ""


@dataclass
class RunWatcher:
    """Polls a run until it ends.

    Attributes:
        endpoint: Pipelines API.
        cluster: Settings of the cluster, for messages.
        on_state: Called with the name of a step and its new state.
        poll_every: Seconds between two requests.
    """

    endpoint: Endpoint
    cluster: ClusterConfig
    on_state: Callable[[str, str], None]
    poll_every: float = POLL_EVERY
    _client: kfp.Client = field(init=False)
    _states: dict[str, str] = field(default_factory=dict)
    _pending_since: dict[str, float] = field(default_factory=dict)

    def watch(self, run_id: str) -> RunResult:
        """Wait for the end of a run.

        Raises:
            InputError: A step is pending longer than `pending_minutes`, or the endpoint stops responding.
        """
        self._client = self.endpoint.client()
        while True:
            run = self._get(run_id)
            tasks = list(_steps(run))
            for name, task in tasks:
                self._update(name, str(task.state), run_id)
            if run.state in ENDED:
                return self._result(run, tasks)
            time.sleep(self.poll_every)

    def _get(self, run_id: str) -> Any:
        with refusals(self.endpoint):
            for attempt in range(MAX_ATTEMPTS):
                try:
                    return self._client.get_run(run_id)
                except urllib3.exceptions.HTTPError:
                    if attempt == MAX_ATTEMPTS - 1:
                        raise
                    time.sleep(self.poll_every)
        raise AssertionError("the last attempt returns or raises")

    def _update(self, name: str, state: str, run_id: str) -> None:
        if self._states.get(name) != state:
            self._states[name] = state
            self.on_state(name, state)
            self._pending_since.pop(name, None)
        if state == "PENDING":
            since = self._pending_since.setdefault(name, time.monotonic())
            if time.monotonic() - since > 60 * self.cluster.pending_minutes:
                raise InputError(self._pending_message(name, run_id))

    def _pending_message(self, name: str, run_id: str) -> str:
        config = self.cluster
        if name == "train" and config.accelerators:
            resources = f"{config.accelerators} × {config.accelerator}"
            hint = (
                "Add such a node, allow its taint by --set train_tolerations=KEY:NoSchedule, or train on the CPU by "
                "--set accelerators=0"
            )
        else:
            resources = "its CPU, memory, volumes and image"
            hint = "Request less by --set data_memory=… or model_memory=…, or correct the image or the volume"
        return (
            f"step {name} has been pending for {config.pending_minutes:g} minutes: the cluster has no node with room "
            f"for {resources}. {hint}; `kubectl describe pod` shows what is missing. The run continues: "
            f"{self.endpoint.run_address(run_id)}"
        )

    def _result(self, run: Any, tasks: list[tuple[str, Any]]) -> RunResult:
        if run.state == "SUCCEEDED":
            return RunResult(ExitStatus.DONE)
        failed = [(name, task) for name, task in tasks if task.state == "FAILED"]
        if not failed:
            return RunResult(ExitStatus.FAULT, reason=f"the run was {str(run.state).lower()}")
        name, task = failed[-1]
        error = Step(name, lines=self._log(run.run_id, task).splitlines()).error()
        if error:
            return RunResult(ExitStatus.of_error(error[0]), name, error[1])
        message = task.error.message if task.error else ""
        status = ExitStatus.HELD if name.endswith("-gate") else ExitStatus.FAULT
        return RunResult(status, name, str(message or ""))

    def _log(self, run_id: str, task: Any) -> str:
        """Output of a step; empty if the cluster does not keep it."""
        pods = [child.pod_name for child in task.child_tasks or [] if child.pod_name] + [task.pod_name]
        texts = []
        for pod in filter(None, pods):
            try:
                url = f"{self.endpoint.host}/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
                reply = call("GET", url, headers=self.endpoint.headers())
            except OSError:  # only the message of the step is lost; the URL of the run is printed
                continue
            if reply.status == 200:
                texts.append(str(reply.body))
        return "\n".join(texts)


def _steps(run: Any) -> Iterable[tuple[str, Any]]:
    """Steps of the run by name, in order of time, without the drivers and groups of Kubeflow."""
    details = (run.run_details.task_details if run.run_details else None) or []
    known = [task for task in details if task.display_name and not task.display_name.endswith(DRIVERS)]
    epoch = min((task.create_time for task in known if task.create_time), default=None)
    for task in sorted(known, key=lambda one: one.create_time or epoch):
        yield task.display_name, task
