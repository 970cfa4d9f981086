"""What is told of recorded runs, in any order of their tasks."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.run_tasks import StepState
from pipelines.kubeflow.run_watcher import NoAnswerError, RunResult, RunWatcher
from pipelines.kubeflow.submit import Endpoint
from pipelines.kubeflow.submitted_run import names_of
from tests.pipelines.endpoint import BAD_INPUT, HELD, pipelines, recorded, scenario, shuffled

HELD_POD = "two-tower-dataset-2mthc-666875690"


@pytest.fixture(scope="module")
def names() -> dict[str, str]:
    """Steps of the recorded runs: the pipelines `dataset`, and `training` in shards.

    The recordings have no pipeline, as a run has; those of `training` imported the repository.
    """
    plans = Plan.of("dataset", []), Plan.of("training", ["shards=2"])
    return {"importer": "importer"} | {key: name for plan in plans for key, name in names_of(plan).items()}


@dataclass
class Watched:
    names: dict[str, str]
    steps: list[StepState] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def end(self, address: str, **cluster: Any) -> RunResult:
        endpoint = Endpoint(host=address, token="", namespace="")
        config = ClusterConfig(**cluster)
        watcher = RunWatcher(endpoint, config, self.names, self.steps.append, self.notes.append, poll_every=0.001)
        return watcher.watch("run-1")

    def lines(self, name: str) -> list[str]:
        return [step.state for step in self.steps if step.name == name]


@pytest.fixture
def watched(names: dict[str, str]) -> Watched:
    return Watched(names)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "log", "status", "step", "reason"),
    [
        ("sample_succeeded", "", 0, "", ""),
        ("cached", "", 0, "", ""),
        ("shards2_minio_repo", "", 0, "", ""),
        ("held_by_gate", HELD, 3, "promotion-gate", "recall@20 is 1.0000; above 283.3333"),
        ("held_by_gate", "", 3, "promotion-gate", ""),
        ("old_defaults_held", HELD, 3, "promotion-gate", "recall@20 is 1.0000; above 283.3333"),
        ("old_defaults_held", "", 3, "promotion-gate", ""),
        ("step_failed", BAD_INPUT, 2, "prepare", "cannot download https://files.grouplens.org"),
        ("step_failed", "Killed\n", 1, "prepare", "Killed"),
        ("step_failed", "", 1, "prepare", ""),
        ("importer_failed", "", 1, "importer", ""),
        ("input_download_failed", "", 1, "pull", ""),
        ("old_defaults_factor_1_5", BAD_INPUT, 2, "prepare", "cannot download"),
        ("old_defaults_retried", BAD_INPUT, 2, "prepare", "cannot download"),
        ("old_defaults_window", BAD_INPUT, 2, "prepare", "cannot download"),
        ("terminated", "", 1, "", "the run was stopped"),
        ("unschedulable_gpu", "", 1, "", "the run was stopped"),
    ],
)
def test_the_status_is_that_of_a_local_run(
    watched: Watched, name: str, log: str, status: int, step: str, reason: str, seed: int
) -> None:
    with pipelines(runs=[shuffled(run, seed) for run in scenario(name)], log=log) as api:
        result = watched.end(api.address)
    assert (result.status, result.step) == (status, step)
    assert reason in " ".join(result.reasons) and bool(reason) == bool(result.reasons)
    assert not any("launcher" in line or "KFP Executor" in line for line in result.reasons), "Kubeflow's own lines"
    told = [step.name for step in watched.steps]
    assert set(told) <= set(watched.names.values()) and max(map(told.count, told), default=0) <= 3


@pytest.mark.parametrize(
    "name", ["held_by_gate_07_failed", "old_defaults_held_07_failed", "old_defaults_held_08_failed"]
)
def test_a_run_seen_only_at_its_end_is_told_alike(watched: Watched, name: str) -> None:
    with pipelines(runs=[shuffled(recorded()[name], 1)], log=HELD) as api:
        assert watched.end(api.address).status == 3


def test_steps_of_shards_are_told_once(watched: Watched) -> None:
    with pipelines(runs=scenario("shards2_minio_repo")) as api:
        watched.end(api.address)
    assert watched.lines("embed")[-1] == "succeeded" and watched.lines("embed").count("succeeded") == 1


def test_reused_steps_and_the_first_retry_are_told(watched: Watched, names: dict[str, str]) -> None:
    with pipelines(runs=scenario("cached")) as api:
        watched.end(api.address)
    assert [step.state for step in watched.steps].count("reused") == 9
    retried = Watched(names)
    with pipelines(runs=scenario("old_defaults_retried")) as api:
        retried.end(api.address)
    assert [step.attempts for step in retried.steps if step.name == "prepare"][-1] == 3
    assert retried.lines("prepare") == ["running", "running", "failed"]


def test_the_log_is_asked_for_by_node_and_by_the_user_interface(watched: Watched) -> None:
    runs = [recorded()["held_by_gate_07_failed"]]
    with pipelines(runs=runs, log=HELD, node=HELD_POD) as api:
        assert "recall@20 is 1.0000" in watched.end(api.address).reasons[0]
    with pipelines(runs=runs, log=HELD, by_ui=True) as api:
        assert "recall@20 is 1.0000" in watched.end(api.address).reasons[0]


def test_the_log_is_found_if_ids_are_not_hashes_of_names(watched: Watched) -> None:
    run = shuffled(recorded()["held_by_gate_07_failed"], 1)
    for task in run["run_details"]["task_details"]:
        for child in task.get("child_tasks", []):
            child["pod_name"] = child["pod_name"].replace("2mthc-", "other-9")
    with pipelines(runs=[run], log=HELD, node="two-tower-dataset-other-9666875690") as api:
        assert watched.end(api.address).reasons


def test_a_pod_that_is_pending_is_told_once_and_waited_for(watched: Watched) -> None:
    runs = [scenario("unschedulable_gpu")[2]] * 30 + [recorded()["sample_succeeded_09_succeeded"]]
    with pipelines(runs=runs) as api:
        assert watched.end(api.address, pending_minutes=0.0005, accelerators=2).status == 0
    (note,) = watched.notes
    assert "train has been pending for 0.0005 minutes: its pod waits for 2 × nvidia.com/gpu" in note
    assert "kubectl -n kubeflow describe pods -l pipeline/runid=run-1" in note and "--set accelerators=0" in note


@pytest.mark.parametrize(
    "event",
    [
        "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        'Failed to pull image "shop/two-tower-train:0.1.0": not found',
    ],
)
def test_the_event_of_a_pending_pod_is_told_if_it_can_be_read(watched: Watched, event: str) -> None:
    runs = [scenario("unschedulable_gpu")[2]] * 30 + [recorded()["sample_succeeded_09_succeeded"]]
    with pipelines(runs=runs, event=event) as api:
        watched.end(api.address, pending_minutes=0.0005)
    (note,) = watched.notes
    assert f"minutes: Kubernetes reports: {event.rstrip('.')}. `kubectl" in note


@pytest.mark.parametrize(
    ("state", "step"), [("step_failed_02_running", "the run"), ("step_failed_03_running", "prepare")]
)
def test_a_driver_that_is_pending_is_told_too(watched: Watched, state: str, step: str) -> None:
    """With a full quota the first pod that is missing is a driver, and no event names it."""
    run = recorded()[state]
    for task in run["run_details"]["task_details"]:
        assert task.get("state") != "PENDING" or "driver" in task["display_name"] or step == "the run"
    with pipelines(runs=[run] * 30 + [recorded()["sample_succeeded_09_succeeded"]]) as api:
        watched.end(api.address, pending_minutes=0.0005)
    (note,) = watched.notes
    assert note.startswith(f"{step} has been pending") and "describe quota` show what is missing" in note


@pytest.mark.parametrize("problem", [500, 404, 503, None], ids=str)
def test_an_api_in_trouble_is_waited_for(watched: Watched, problem: int | None) -> None:
    first, *_, last = scenario("sample_succeeded")
    with pipelines(runs=[first, problem, problem, problem, last]) as api:
        assert watched.end(api.address).status == 0
    (note,) = watched.notes
    assert "asking again" in note


def test_an_api_that_stays_away_ends_the_wait(watched: Watched) -> None:
    with (
        pipelines(runs=[scenario("sample_succeeded")[0], 500]) as api,
        pytest.raises(NoAnswerError, match=r"\(HTTP 500\)\. The run goes on\."),
    ):
        watched.end(api.address, api_minutes=0.001)
