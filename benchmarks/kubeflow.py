"""What `two-tower submit --wait` reports of recorded runs: `python -m benchmarks.kubeflow [--json F]`.

The answers of the Pipelines API were recorded at Kubeflow Pipelines 2.17.0 with Argo 4.0.5
(tests/pipelines/endpoint.py). Each run is replayed whole, and each final state alone, in 40 random orders of its tasks,
with other task ids, in every second order with other names of pods, and with and without the log of the failed step.
Claims: `states`, the recorded answers; `replays`; `right_status`, the replays with the exit status of the same run on
one machine; `lines_per_step`, the most lines that any step gets.
"""

import re
from collections import Counter
from typing import Any

from benchmarks.harness import arguments, finish, machine, progress
from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.run_watcher import RunWatcher
from pipelines.kubeflow.submit import Endpoint
from pipelines.kubeflow.submitted_run import names_of
from tests.pipelines.endpoint import BAD_INPUT, HELD, pipelines, recorded, scenario, shuffled

ORDERS, QUICK_ORDERS = 40, 2
# Scenario: the log of the failed step, the right status with it, and without it. Without the log of a step that is no
# gate, bad input and a fault cannot be told apart: the status is that of a fault.
RIGHT: dict[str, tuple[str, int, int]] = {
    "sample_succeeded": ("", 0, 0),
    "checkerboard_succeeded": ("", 0, 0),
    "cached": ("", 0, 0),
    "shards2_minio_repo": ("", 0, 0),
    "held_by_gate": (HELD, 3, 3),
    "old_defaults_held": (HELD, 3, 3),
    "step_failed": (BAD_INPUT, 2, 1),
    "old_defaults_retried": (BAD_INPUT, 2, 1),
    "old_defaults_factor_1_5": (BAD_INPUT, 2, 1),
    "old_defaults_window": (BAD_INPUT, 2, 1),
    "importer_failed": ("", 1, 1),
    "input_download_failed": (BAD_INPUT, 2, 1),
    "terminated": ("", 1, 1),
    "unschedulable_gpu": ("", 1, 1),
}


def main() -> None:
    args = arguments(__doc__).parse_args()
    machine_info = machine()
    orders = QUICK_ORDERS if args.quick else ORDERS
    names = {key: name for plan in _plans() for key, name in names_of(plan).items()}
    rows, most = [], 0
    for name, (log, with_log, without) in RIGHT.items():
        outcomes: Counter[bool] = Counter()
        for runs in (scenario(name), scenario(name)[-1:]):
            for seed in range(orders):
                for text, right in {log: with_log, "": without}.items():
                    status, lines = _replay([_renamed(shuffled(run, seed), seed) for run in runs], text, names)
                    outcomes[status == right] += 1
                    most = max(most, lines)
        rows.append({"scenario": name, "replays": outcomes.total(), "right": outcomes[True]})
        progress(f"{name}: {outcomes[True]} of {outcomes.total()} right")
    claims = {
        "states": len([key for key in recorded() if re.sub(r"_\d\d_\w+$", "", key) in RIGHT]),
        "replays": sum(row["replays"] for row in rows),
        "right_status": sum(row["right"] for row in rows),
        "lines_per_step": most,
    }
    finish(rows, claims, machine_info, args.json)


def _plans() -> tuple[Plan, Plan]:
    """The pipelines of the recorded runs."""
    return Plan.of("dataset", []), Plan.of("training", ["shards=2"])


def _renamed(run: dict[str, Any], seed: int) -> dict[str, Any]:
    """Give every second order other names of pods, which are no hashes of the names of nodes."""
    for task in (run.get("run_details") or {}).get("task_details") or []:
        for child in task.get("child_tasks") or []:
            if seed % 2 and child.get("pod_name"):
                child["pod_name"] = f"{child['pod_name']}{seed}"
    return run


def _replay(runs: list[dict[str, Any]], log: str, names: dict[str, str]) -> tuple[int, int]:
    """The exit status of a run, and the most lines of one of its steps."""
    lines: Counter[str] = Counter()
    with pipelines(runs=runs, log=log) as api:
        endpoint = Endpoint(host=api.address, token="", namespace="")
        watcher = RunWatcher(
            endpoint, ClusterConfig(), names, lambda step: lines.update([step.name]), lambda _: None, poll_every=0.001
        )
        result = watcher.watch("run-1")
    return int(result.status), max(lines.values(), default=0)


if __name__ == "__main__":
    main()
