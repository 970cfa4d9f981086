"""The steps of a run, from the answers of the Pipelines API.

The API describes the nodes of Argo, and not the steps of the pipeline (seen with Kubeflow Pipelines 2.17.0 and Argo
4.0.5). A step is the task whose display name is the key of the step in the compiled DAG, such as `gate-4`. Next to it
are `gate-4(0)` for each attempt, `gate-4-driver`, and `executor`, a name that the executors of all steps share. Tasks
come in random order, have the creation time of the workflow, and have no pod. A step that has not started has no state.
The end of a running task is in year 1. The children of a task are ids of Argo nodes: `WORKFLOW-HASH`, where HASH is the
FNV-1a hash of the node's name, such as `WORKFLOW(0).root(0).gate-4(0).executor(0)`.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

MOST_ATTEMPTS = 4  # of each template on the path to a pod; more are not looked for
_STATES = {"RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": "failed"}
_MAY_HAVE_FAILED = ("FAILED", "RUNNING")  # for a moment, a run has failed and its tasks have not

Run = Mapping[str, Any]


@dataclass(frozen=True)
class StepState:
    """A step that has started.

    Attributes:
        key: Its key in the compiled DAG.
        name: Name that the pipeline gives it.
        state: running, succeeded, reused or failed.
        started: Time of its start.
        seconds: Its duration; None while it runs.
        attempts: Number of pods that it has had; 0 if they cannot be told.
    """

    key: str
    name: str
    state: str
    started: datetime
    seconds: float | None
    attempts: int


def step_names(spec: Mapping[str, Any]) -> dict[str, str]:
    """Map the key of each step to its name, without the groups of the pipeline.

    Args:
        spec: Compiled pipeline as a dict, or as a run of the API has it; empty if it holds no pipeline.
    """
    spec = spec.get("pipeline_spec", spec)
    if "components" not in spec:
        return {}
    components = spec["components"]
    dags = [spec["root"]["dag"], *(c["dag"] for c in components.values() if "dag" in c)]
    return {
        key: task["taskInfo"]["name"]
        for dag in dags
        for key, task in dag["tasks"].items()
        if "dag" not in components[task["componentRef"]["name"]]
    }


def steps(run: Run, names: Mapping[str, str]) -> list[StepState]:
    """List the steps that have started, in the order of their start.

    Args:
        run: Answer of the API.
        names: Result of `step_names`.
    """
    by_key: dict[str, list[Mapping[str, Any]]] = {}
    for task in tasks(run):
        if task.get("display_name") in names and task.get("state") in _STATES and task.get("start_time"):
            by_key.setdefault(task["display_name"], []).append(task)
    found = [_step(key, names[key], twins, len(pods(run, key))) for key, twins in by_key.items()]
    return sorted(found, key=lambda step: (step.started, step.key))


def _step(key: str, name: str, twins: list[Mapping[str, Any]], attempts: int) -> StepState:
    """Combine the tasks of a step; there are several if it runs once per shard."""
    states = {task["state"] for task in twins}
    state = next(state for state in ("RUNNING", "FAILED", "SUCCEEDED") if state in states)
    started = min(_time(task["start_time"]) for task in twins)
    ended = max(_time(task["end_time"]) for task in twins)
    seconds = None if state == "RUNNING" else max((ended - started).total_seconds(), 0.0)
    text = "reused" if state == "SUCCEEDED" and not seconds else _STATES[state]
    return StepState(key, name, text, started, seconds, attempts)


def pending_pods(run: Run) -> dict[str, str]:
    """Map the id of each task that waits for its pod to the key of its step; empty for the pod of an executor.

    In the recordings, a pending task is a driver (`train-driver`), an executor or an importer. It stays pending while
    no node has room, while the image cannot be pulled, and while the quota of the namespace is full: Argo then tries
    again to create the pod (`isExceededQuotaErr` in util/errors/errors.go of argo-workflows, read).
    """
    return {
        task["task_id"]: name.rpartition("-driver")[0]
        for task in tasks(run)
        if task.get("state") == "PENDING" and (name := task.get("display_name") or "")
    }


def was_stopped(run: Run) -> bool:
    """Whether somebody stopped the run. It then ends as FAILED, and only its history has CANCELING."""
    states = {entry.get("state") for entry in run.get("state_history") or ()}
    return bool(states & {"CANCELING", "CANCELED"}) or run.get("state") in ("CANCELING", "CANCELED")


def pods(run: Run, key: str) -> list[str]:
    """Ids of the pods that a step has had, the first one first. Those of a step inside a group cannot be told."""
    known = {child.get("pod_name") for task in tasks(run) for child in _children(task)}
    workflow = next((id_.rpartition("-")[0] for id_ in known if id_), "")
    single, numbered = _pod_ids(workflow, key)
    return [node for node in numbered if node in known] or [node for node in single if node in known]


def possible_pods(run: Run, key: str) -> list[str]:
    """Ids of nodes that may be the last pod of a failed step, if it is in a group and its ids cannot be computed."""
    names = {"executor", key} | {f"{key}({n})" for n in range(MOST_ATTEMPTS)}
    ended = [task for task in tasks(run) if task.get("display_name") in names and task.get("state") in _MAY_HAVE_FAILED]
    ended.sort(key=lambda task: task["display_name"] != "executor")
    return [child["pod_name"] for task in ended for child in _children(task)[::-1] if child.get("pod_name")]


def _children(task: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(task.get("child_tasks") or ())


def pod_name(node: str) -> str:
    """Name of the pod of an Argo node."""
    workflow, _, number = node.rpartition("-")
    return f"{workflow}-system-container-impl-{number}"


def tasks(run: Run) -> list[Mapping[str, Any]]:
    """Tasks of a run; none until the workflow has started."""
    return (run.get("run_details") or {}).get("task_details") or []


@lru_cache(maxsize=256)  # each look at a run asks for the same ids
def _pod_ids(workflow: str, key: str) -> tuple[list[str], list[str]]:
    """Ids that Argo may give to the pods of a step: without retries; and with retries of the pod, or of all nodes."""
    numbers = range(MOST_ATTEMPTS)
    numbered = [f"{workflow}.root.{key}.executor({n})" for n in range(4 * MOST_ATTEMPTS)]
    numbered += [
        f"{workflow}({i}).root({j}).{key}({k}).executor({n})"
        for i, j, k, n in itertools.product(numbers, numbers, numbers, numbers)
    ]
    ids = [f"{workflow}-{_fnv1a(name)}" for name in (f"{workflow}.root.{key}.executor", *numbered)]
    return ids[:1], ids[1:]


def _fnv1a(text: str) -> int:
    """The 32-bit FNV-1a hash.

    Source: G. Fowler, L. C. Noll and K.-P. Vo, FNV-1a, with the offset basis and prime for 32 bits.
    """
    number = 0x811C9DC5
    for byte in text.encode():
        number = ((number ^ byte) * 0x01000193) & 0xFFFFFFFF
    return number


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
