"""Deployments against a stand-in cluster, over HTTP, of releases that are real files."""

import json

import pytest

from tests.schemas import check_inference_service
from tests.two_tower.cluster import Cluster
from tests.two_tower.deployment.requests import ASKED, QUESTIONS, no_service, settings
from two_tower.deployment import deploy, kserve
from two_tower.errors import InputError
from two_tower.releases import release

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/shop/inferenceservices"


def test_the_first_release_creates_the_service_and_is_promoted(kube: Cluster, releases) -> None:
    where, first, _ = releases
    verdict = deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    assert (verdict.passed, verdict.details["action"], verdict.details["before"]) == (True, "promoted", None)
    assert kube.requests == {first: ASKED}
    assert kube.changes() == ["POST", "PATCH"]
    assert kube.serving() == (first, 100)
    assert release.current(where) == first


def test_the_next_release_gets_a_canary_share_until_it_has_answered(kube: Cluster, releases) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    kube.log.clear()
    verdict = deploy.deploy(second, where, QUESTIONS, settings(kube, canary_percent=25), no_service)
    assert verdict.details["action"] == "promoted" and verdict.details["before"] == first
    shares = [body["spec"]["predictor"].get("canaryTrafficPercent") for m, _, body in kube.log if m == "PATCH"]
    assert shares == [25, None]
    assert kube.requests[second] == ASKED and kube.serving() == (second, 100)
    assert release.current(where) == second


def test_an_interrupted_promotion_is_finished(kube: Cluster, releases) -> None:
    """The cluster was told, the pointer was not: as after a step that was killed in between."""
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    deploy.deploy(second, where, QUESTIONS, settings(kube), no_service)
    release.activate(where, first)
    assert deploy.deploy(second, where, QUESTIONS, settings(kube), no_service).details["action"] == "promoted"
    assert release.current(where) == second and kube.serving() == (second, 100)


def test_a_release_that_does_not_become_ready_is_rolled_back_with_what_the_cluster_says(
    kube: Cluster, releases
) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    kube.never.add(second)
    verdict = deploy.deploy(second, where, QUESTIONS, settings(kube, ready_timeout=1), no_service)
    assert "not ready within 1 s: Ready: RevisionFailed ImagePullBackOff" in verdict.reasons[0]
    assert "kubectl -n shop describe inferenceservice two-tower" in verdict.reasons[0]
    assert kube.serving() == (second, 0) and release.current(where) == first
    assert kube.requests[second] == 0


def test_a_first_release_that_fails_leaves_nothing_behind(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.never.add(first)
    verdict = deploy.deploy(first, where, QUESTIONS, settings(kube, ready_timeout=1), no_service)
    assert verdict.reasons[-1] == "Rolled back: no release serves as before."
    assert kube.objects == {} and release.current(where) is None


def test_a_service_that_was_applied_before_keeps_what_is_its_own(kube: Cluster, releases) -> None:
    where, first, _ = releases
    applied = kserve.inference_service(where, settings(kube), None)
    applied["spec"]["predictor"]["maxReplicas"] = 99
    applied["spec"]["predictor"]["containers"][0]["env"] = [{"name": "OURS", "value": "1"}]
    kube.put(f"{PATH}/two-tower", applied)
    kube.answers[first] = "fails"
    assert not deploy.deploy(first, where, QUESTIONS, settings(kube), no_service).passed
    assert kube.serving() == (first, 0), "what was applied is not deleted"
    del kube.answers[first]
    assert deploy.deploy(first, where, QUESTIONS, settings(kube), no_service).passed
    predictor = kube.objects[f"{PATH}/two-tower"]["spec"]["predictor"]
    assert predictor["maxReplicas"] == 99
    assert [e["name"] for e in predictor["containers"][0]["env"]] == ["OURS", "TWO_TOWER_RELEASE"]


def test_a_mode_without_canaries_is_refused(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.mode = "Standard"
    kube.put(f"{PATH}/two-tower", kserve.inference_service(where, settings(kube), None))
    with pytest.raises(InputError, match="mode Standard, in which KServe does not split traffic"):
        deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    assert kube.changes() == []


def test_what_is_created_is_what_kserve_defines(kube: Cluster, releases) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    for method, _, body in kube.log:
        if method == "POST":
            check_inference_service(json.loads(json.dumps(body)))
