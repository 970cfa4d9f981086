from pathlib import Path

import numpy as np
import pytest

from serving.http.background import serve_in_background
from tests.two_tower import parts
from tests.two_tower.cluster import Cluster
from tests.two_tower.deployment.requests import QUESTIONS, no_service, settings
from two_tower.config import DeployConfig
from two_tower.deployment import deploy
from two_tower.releases import release
from two_tower.releases.manifest import ReleaseError
from two_tower.retrieval.index import build


def test_a_rerun_changes_nothing(kube: Cluster, releases) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    kube.log.clear()
    verdict = deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    assert verdict.passed and verdict.details["action"] == "unchanged"
    assert kube.changes() == []


@pytest.mark.parametrize(
    ("manner", "reason"),
    [
        ("fails", "items by user id: 2 of 2 answers are wrong. user 'u1': HTTP 500"),
        ("old", "answered by release another"),
        ("no store", "the online store failed"),
        ("wrong items", "not in descending order"),
    ],
)
def test_a_failed_smoke_test_rolls_back(kube: Cluster, releases, manner: str, reason: str) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    kube.answers[second] = manner
    verdict = deploy.deploy(second, where, QUESTIONS, settings(kube), no_service)
    assert not verdict.passed and verdict.details["action"] == "rolled back"
    assert reason in verdict.reasons[0]
    assert verdict.reasons[-1] == f"Rolled back: {first} serves as before."
    assert kube.shares() == {first: 100}
    assert release.current(where) == first

    del kube.answers[second]
    assert deploy.deploy(second, where, QUESTIONS, settings(kube), no_service).details["action"] == "promoted"
    assert kube.shares() == {second: 100}


def test_responses_that_are_too_slow_roll_back(kube: Cluster, releases) -> None:
    where, first, _ = releases
    verdict = deploy.deploy(first, where, QUESTIONS, settings(kube, slowest_ms=0.001), no_service)
    assert "95 % of the responses took" in verdict.reasons[0]


def test_a_torn_release_is_never_staged(kube: Cluster, releases, tmp_path: Path) -> None:
    where, first, _ = releases
    (tmp_path / "releases" / first / "index.onnx").write_bytes(b"torn")
    with pytest.raises(ReleaseError, match=r"index\.onnx"):
        deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    assert kube.changes() == []


def test_the_local_deployer_moves_the_pointer_to_a_release_that_answers_right(releases, tmp_path: Path) -> None:
    where, first, second = releases
    verdict = deploy.deploy(first, where, QUESTIONS, DeployConfig(), serve_in_background)
    assert verdict.passed, verdict.reasons
    assert verdict.details["action"] == "promoted" and release.current(where) == first
    table = {row["kind"]: (row["asked"], row["differ"]) for row in verdict.details["questions"]}
    assert table == {
        "files of the release": (0, 0),
        "items by user id": (2, 0),
        "items by features": (2, 0),
        "unknown user": (1, 0),
        "items over gRPC": (2, 0),
        "upserted item": (1, 0),
    }
    assert sorted(path.name for path in (tmp_path / "releases").iterdir()) == sorted([first, second, "current"])

    again = deploy.deploy(first, where, QUESTIONS, DeployConfig(), no_service)
    assert again.details["action"] == "unchanged"


def test_the_local_deployer_keeps_the_pointer_if_the_release_has_the_index_of_another(releases, tmp_path: Path) -> None:
    where, first, _ = releases
    release.activate(where, first)
    parts.write(tmp_path / "other", prefix="c")
    build(np.ones((10, 2), dtype=np.float32), "dot", "space-1", tmp_path / "other" / "index.onnx")
    mixed = release.publish(where, [tmp_path / "other"], parts.manifest())
    verdict = deploy.deploy(mixed, where, QUESTIONS, DeployConfig(), serve_in_background)
    assert not verdict.passed and release.current(where) == first
    assert "item 'c1' has the score 1, the towers give" in verdict.reasons[0]
    assert verdict.reasons[-1] == f"Rolled back: {first} serves as before."


def test_the_page_says_what_was_done_and_why(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.answers[first] = "fails"
    page = deploy.page(deploy.deploy(first, where, QUESTIONS, settings(kube), no_service))
    assert page.startswith("# Deploy: rolled back\n\n- items by user id: 2 of 2 answers are wrong")
    assert f"| release | {first} |" in page
    assert "| items by features | 2 | 0 | 2 |" in page
