from typing import Any

import pytest

from two_tower.deployment import readiness

READY = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


def deployment(size: int = 2, **status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 3}, "spec": {"replicas": size}, "status": READY | status}


def test_a_complete_rollout_has_no_reason() -> None:
    assert readiness.rollout(deployment()) == ""


@pytest.mark.parametrize(
    ("size", "status", "reason"),
    [
        (2, {"observedGeneration": 2}, "not been observed"),
        (2, {"replicas": 3}, "1 old pods still respond"),
        (2, {"updatedReplicas": 1}, "1 of 2"),
        (2, {"availableReplicas": 1}, "1 of 2"),
        (0, {"replicas": 0, "updatedReplicas": 0, "availableReplicas": 0}, "0 of 0"),
        (
            2,
            {
                "availableReplicas": 0,
                "conditions": [
                    {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"},
                    {"type": "Progressing", "status": "True"},
                ],
            },
            "ReplicaFailure True: FailedCreate exceeded quota",
        ),
        (
            2,
            {
                "availableReplicas": 0,
                "conditions": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
            },
            "Progressing False: ProgressDeadlineExceeded",
        ),
    ],
)
def test_an_incomplete_rollout_says_why(size: int, status: dict[str, Any], reason: str) -> None:
    assert reason in readiness.rollout(deployment(size, **status))


def test_a_deployment_without_a_status_is_not_ready() -> None:
    assert readiness.rollout({"metadata": {"generation": 1}, "spec": {}})


def test_each_reason_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    reasons = iter(["starting", "starting", "no route", ""])
    readiness.wait(lambda: next(reasons), 10, "it", "")
    assert capsys.readouterr().err == "deploy: waiting: starting\ndeploy: waiting: no route\n"
    with pytest.raises(readiness.NotReadyError, match=r"^it was not ready within 0 s: broken\. Look\.$"):
        readiness.wait(lambda: "broken", 0, "it", "Look.")
