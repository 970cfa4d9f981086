from pathlib import Path

import pytest

from tests.two_tower.cluster import Cluster
from tests.two_tower.deployment.requests import REQUESTS, settings
from two_tower.config import DeployConfig
from two_tower.deployment import deploy
from two_tower.releases import release
from two_tower.releases.manifest import ReleaseError


def test_a_rerun_changes_nothing(kube: Cluster, releases) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    kube.log.clear()
    verdict = deploy.deploy(first, where, REQUESTS, settings(kube))
    assert verdict.passed and verdict.details["action"] == "unchanged"
    assert kube.changes() == []


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("fails", "3 of 3 requests: HTTP 500"),
        ("old", "answered by release another"),
        ("no store", "the online store failed"),
        ("unknown", "the online store knows 0 of 2 requested users"),
    ],
)
def test_a_failed_smoke_test_rolls_back(kube: Cluster, releases, manner: str, reason: str) -> None:
    where, first, second = releases
    deploy.deploy(first, where, REQUESTS, settings(kube))
    kube.answers[second] = manner
    verdict = deploy.deploy(second, where, REQUESTS, settings(kube))
    assert not verdict.passed and verdict.details["action"] == "rolled back"
    assert reason in verdict.reasons[0]
    assert verdict.reasons[-1] == f"Rolled back: {first} serves as before."
    assert kube.serving() == (second, 0), "the candidate's revision gets no traffic"
    assert release.current(where) == first

    del kube.answers[second]
    assert deploy.deploy(second, where, REQUESTS, settings(kube)).details["action"] == "promoted"
    assert kube.serving() == (second, 100)


def test_responses_that_are_too_slow_roll_back(kube: Cluster, releases) -> None:
    where, first, _ = releases
    verdict = deploy.deploy(first, where, REQUESTS, settings(kube, slowest_ms=0.001))
    assert "95 % of the responses took" in verdict.reasons[0]


def test_a_torn_release_is_never_staged(kube: Cluster, releases, tmp_path: Path) -> None:
    where, first, _ = releases
    (tmp_path / "releases" / first / "index.onnx").write_bytes(b"torn")
    with pytest.raises(ReleaseError, match=r"index\.onnx"):
        deploy.deploy(first, where, REQUESTS, settings(kube))
    assert kube.changes() == []


def test_the_local_deployer_moves_the_pointer(releases) -> None:
    where, first, second = releases
    assert deploy.deploy(first, where, REQUESTS, DeployConfig()).details["action"] == "promoted"
    assert release.current(where) == first
    assert deploy.deploy(first, where, REQUESTS, DeployConfig()).details["action"] == "unchanged"
    assert deploy.deploy(second, where, REQUESTS, DeployConfig()).details["before"] == first
    assert release.current(where) == second


def test_the_page_says_what_was_done_and_why(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.answers[first] = "fails"
    page = deploy.page(deploy.deploy(first, where, REQUESTS, settings(kube)))
    assert page.startswith("# Deploy: rolled back\n\n- 3 of 3 requests: HTTP 500")
    assert f"| release | {first} |" in page
