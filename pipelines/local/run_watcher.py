"""A run on a cluster, followed to its end: its steps as they change, and the exit status of a local run."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import kfp
import urllib3

from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.submit import Endpoint, refusals
from pipelines.local.runner import Step
from two_tower.errors import InputError
from two_tower.http_json import call

POLL_EVERY = 5.0  # seconds between two looks at the run
SILENT = 5  # looks without an answer, after which it is an error
ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
DRIVERS = ("root-driver", "driver")  # Kubeflow's own pods, which say nothing of a step
HELD = "GateHeldError"


@dataclass(frozen=True)
class Ended:
    """How a run ended. status: exit status. reason: what its failed step said, empty where nothing could be read."""

    status: int
    step: str = ""
    reason: str = ""


@dataclass
class Follower:
    """Looks at a run until it ends. tell: called with a step's name and its new state."""

    endpoint: Endpoint
    cluster: ClusterConfig
    tell: Callable[[str, str], None]
    poll_every: float = POLL_EVERY
    _client: kfp.Client = field(init=False)
    _states: dict[str, str] = field(default_factory=dict)
    _pending_since: dict[str, float] = field(default_factory=dict)

    def follow(self, run_id: str) -> Ended:
        """Raises InputError where a step waits too long for a machine and where the endpoint stops answering."""
        self._client = self.endpoint.client()
        while True:
            run = self._look(run_id)
            tasks = list(_steps(run))
            for name, task in tasks:
                self._note(name, str(task.state), run_id)
            if run.state in ENDED:
                return self._ended(run, tasks)
            time.sleep(self.poll_every)

    def _look(self, run_id: str) -> Any:
        with refusals(self.endpoint):
            for attempt in range(SILENT):
                try:
                    return self._client.get_run(run_id)
                except urllib3.exceptions.HTTPError:
                    if attempt == SILENT - 1:
                        raise
                    time.sleep(self.poll_every)
        raise AssertionError("the last attempt returns or raises")

    def _note(self, name: str, state: str, run_id: str) -> None:
        if self._states.get(name) != state:
            self._states[name] = state
            self.tell(name, state)
            self._pending_since.pop(name, None)
        if state == "PENDING":
            since = self._pending_since.setdefault(name, time.monotonic())
            if time.monotonic() - since > 60 * self.cluster.pending_minutes:
                raise InputError(self._stuck(name, run_id))

    def _stuck(self, name: str, run_id: str) -> str:
        config = self.cluster
        if name == "train" and config.accelerators:
            asks = f"{config.accelerators} × {config.accelerator}"
            step = (
                "Add such a node, allow its taint by --set train_tolerations=KEY:NoSchedule, or train on the CPU by "
                "--set accelerators=0"
            )
        else:
            asks = "its CPU, memory, volumes and image"
            step = "Ask for less by --set data_memory=… or model_memory=…, or correct the image or the volume"
        return (
            f"step {name} has been pending for {config.pending_minutes:g} minutes: the cluster has no node with room "
            f"for {asks}. {step}; `kubectl describe pod` says what is missing. The run goes on: "
            f"{self.endpoint.run_address(run_id)}"
        )

    def _ended(self, run: Any, tasks: list[tuple[str, Any]]) -> Ended:
        if run.state == "SUCCEEDED":
            return Ended(0)
        failed = [(name, task) for name, task in tasks if task.state == "FAILED"]
        if not failed:
            return Ended(1, reason=f"the run was {str(run.state).lower()}")
        name, task = failed[-1]
        error = Step(name, lines=self._log(run.run_id, task).splitlines()).error()
        if error:
            return Ended({HELD: 3}.get(error[0], 2), name, error[1])
        said = task.error.message if task.error else ""
        return Ended(3 if name.endswith("-gate") else 1, name, str(said or ""))

    def _log(self, run_id: str, task: Any) -> str:
        """What a step printed; empty where the cluster does not keep it."""
        pods = [child.pod_name for child in task.child_tasks or [] if child.pod_name] + [task.pod_name]
        texts = []
        for pod in filter(None, pods):
            try:
                url = f"{self.endpoint.host}/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log"
                reply = call("GET", url, headers=self.endpoint.headers())
            except OSError:  # the run's end is known; only its words are lost, and its address is printed
                continue
            if reply.status == 200:
                texts.append(str(reply.body))
        return "\n".join(texts)


def _steps(run: Any) -> Iterable[tuple[str, Any]]:
    """The run's steps by name, in order of time, without Kubeflow's drivers and groups."""
    details = (run.run_details.task_details if run.run_details else None) or []
    known = [task for task in details if task.display_name and not task.display_name.endswith(DRIVERS)]
    epoch = min((task.create_time for task in known if task.create_time), default=None)
    for task in sorted(known, key=lambda one: one.create_time or epoch):
        yield task.display_name, task
