"""What is particular to Knative mode: revisions, shares, and the first release."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.two_tower.cluster import Cluster, pinned
from tests.two_tower.deployment.requests import ASKED, QUESTIONS, no_service, settings
from tests.two_tower.kserve_controller import MODE, Installation
from tests.two_tower.kserve_controller import Knative as StandIn
from two_tower.deployment import deploy, knative, manifests
from two_tower.deployment.kubernetes import Kubernetes
from two_tower.releases import release

PATH = "/apis/serving.kserve.io/v1beta1/namespaces/shop/inferenceservices"
RECORDED = Path(__file__).parent / "recorded_kserve"


def test_a_promotion_changes_the_share_only(kube: Cluster, releases) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    kube.log.clear()
    deploy.deploy(second, where, QUESTIONS, settings(kube, canary_percent=25), no_service)
    shares = [body["spec"]["predictor"].get("canaryTrafficPercent") for m, _, body in kube.log if m == "PATCH"]
    assert shares == [25, None]
    assert kube.requests[second] == ASKED
    assert len(kube.knative["two-tower"].revisions) == 2, "the revision that was tested is the one that serves"


def test_the_first_release_gets_no_traffic_before_it_is_tested(kube: Cluster, releases) -> None:
    """The service was applied before, follows the pointer, and is not ready."""
    where, first, _ = releases
    applied = manifests.inference_service(where, settings(kube), None)
    applied["spec"]["predictor"]["maxReplicas"] = 99
    applied["spec"]["predictor"]["containers"][0]["env"] = [{"name": "OURS", "value": "1"}]
    kube.put(f"{PATH}/two-tower", applied)
    kube.answers[first] = "fails"
    assert not deploy.deploy(first, where, QUESTIONS, settings(kube), no_service).passed
    assert kube.shares() == {} and list(kube.objects) == [f"{PATH}/two-tower"], "it serves nothing, as before"
    assert kube.requests[first] == ASKED

    kube.answers.clear()
    assert deploy.deploy(first, where, QUESTIONS, settings(kube), no_service).passed
    assert kube.shares() == {first: 100} and list(kube.objects) == [f"{PATH}/two-tower"]
    predictor = kube.objects[f"{PATH}/two-tower"]["spec"]["predictor"]
    assert predictor["maxReplicas"] == 99
    assert [e["name"] for e in predictor["containers"][0]["env"]] == ["OURS", "TWO_TOWER_RELEASE"]


@pytest.mark.parametrize("applied", [True, False])
def test_a_first_release_that_is_not_ready_as_the_service_is_taken_back(
    kube: Cluster, releases, applied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was tested in the InferenceService `two-tower-first`; a quota, say, keeps the pods of the other out."""
    where, first, _ = releases
    before = manifests.inference_service(where, settings(kube), None)
    if applied:
        kube.put(f"{PATH}/two-tower", json.loads(json.dumps(before)))
    tested = kube.starts
    monkeypatch.setattr(kube, "starts", lambda pod: "two-tower" not in kube.knative and tested(pod))
    if applied:
        monkeypatch.setattr(
            kube, "starts", lambda pod: len(kube.knative["two-tower"].revisions) < 2 and bool(pinned(pod))
        )
    verdict = deploy.deploy(first, where, QUESTIONS, settings(kube, ready_timeout=1), no_service)
    assert verdict.details["action"] == "rolled back" and "InferenceService two-tower was not" in verdict.reasons[0]
    assert kube.requests[first] == ASKED and release.current(where) is None
    kube.settle()
    assert list(kube.objects) == ([f"{PATH}/two-tower"] if applied else [])
    if applied:
        assert manifests.pinned_release(kube.objects[f"{PATH}/two-tower"]["spec"]["predictor"]) is None


def test_a_service_that_follows_the_pointer_gets_a_canary(kube: Cluster, releases) -> None:
    where, first, second = releases
    release.activate(where, first)
    kube.put(f"{PATH}/two-tower", manifests.inference_service(where, settings(kube), None))
    kube.settle()
    kube.answers[second] = "fails"
    verdict = deploy.deploy(second, where, QUESTIONS, settings(kube), no_service)
    assert verdict.reasons[-1] == f"Rolled back: {first} serves as before." and kube.shares() == {first: 100}


def test_a_rollback_of_the_traffic_alone_does_not_count_as_promoted(kube: Cluster, releases) -> None:
    where, first, second = releases
    for one in (first, second):
        deploy.deploy(one, where, QUESTIONS, settings(kube), no_service)
    kube.objects[f"{PATH}/two-tower"]["spec"]["predictor"]["canaryTrafficPercent"] = 0
    kube.settle()
    assert kube.shares() == {first: 100} and release.current(where) == second
    deployer = deploy.create_deployer(where, settings(kube), no_service)
    assert deployer.serving() is None
    assert deployer.restore_previous() == first == release.current(where), "the pointer follows"


@pytest.mark.parametrize("annotation", ["Serverless", None])
def test_an_object_of_the_old_mode_name_can_be_changed_and_deleted(kube: Cluster, releases, annotation) -> None:
    """KServe 0.16.0 compares the names as texts, also when it removes its finalizer."""
    where, first, second = releases
    kube.kserve = Installation(version=16)
    applied = manifests.inference_service(where, settings(kube), None)
    if annotation:
        applied["metadata"]["annotations"][MODE] = annotation
    kube.put(f"{PATH}/two-tower", applied)
    for one in (first, second):
        assert deploy.deploy(one, where, QUESTIONS, settings(kube), no_service).passed
    assert kube.objects[f"{PATH}/two-tower"]["metadata"]["annotations"].get(MODE) in (None, "Knative")
    kube.delete(f"{PATH}/two-tower")
    kube.settle()
    assert kube.objects == {}


def test_in_the_cluster_the_newest_revision_has_a_local_address(monkeypatch: pytest.MonkeyPatch, kube: Cluster) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    config = settings(kube, kubernetes_api="")
    deployer = knative.Knative("s3://b", config, Kubernetes("", "shop"))
    assert deployer._address(recorded("canary10")) == "http://latest-two-tower-predictor.shop.svc.cluster.local"


# Recorded states of KServe 0.20.0: whether the newest revision is ready, which revision gets all of the traffic, and
# what serves if the pointer names the pinned release.
@pytest.mark.parametrize(
    ("state", "ready", "full"),
    [
        ("new", False, None),
        ("ready", True, 1),
        ("canary10", True, None),
        ("promoted", True, 3),
        ("rolledback", True, 1),
        ("promote_starting", False, 4),
        ("base_never_ready", False, None),
        ("first_release_canary10", True, 2),
        ("rollback_after_promote", True, 4),
    ],
)
def test_recorded_states_are_read(kube: Cluster, state: str, ready: bool, full: int | None) -> None:
    service = recorded(state)
    deployer = knative.Knative("s3://b", settings(kube), Kubernetes(kube.address, "shop"))
    assert (deployer._not_ready(service) == "") == ready
    traffic = service["status"]["components"]["predictor"].get("traffic", [])
    names = {target["revisionName"] for target in traffic}
    receives = [name for name in names if knative._without_traffic(service, name) == ""]
    assert [int(name[-5:]) for name in receives] == ([full] if full else [])


# Recorded states in order of time, by InferenceService. `promoted again` was not recorded: it lies between two states.
PLAYED = {
    "two-tower": (
        *("ready", "canary10", "promoted", "rolledback", "promoted again", "canary_second", "promote_starting"),
        *("promote_ready", "rollback_after_promote"),
    ),
    "two-tower-b": ("base_never_ready", "first_release_canary10", "first_release_refused"),
}


@pytest.mark.parametrize("name", PLAYED)
def test_the_stand_in_does_what_kserve_was_seen_to_do(name: str) -> None:
    """It gets the same changes, and reports the same revisions and traffic."""
    played = StandIn(name, "")
    for state in PLAYED[name]:
        service = recorded("rolledback" if state == "promoted again" else state)
        if state == "promoted again":
            del service["spec"]["predictor"]["canaryTrafficPercent"]
        starting = state in ("promote_starting", "base_never_ready")
        for _ in range(3):
            status = played.reconcile(
                service,
                lambda one, starting=starting: (
                    pinned_or_first(one, name) and not (starting and one is played.revisions[-1])
                ),
            )
        if state != "promoted again":
            assert seen(status) == seen(service["status"]["components"]["predictor"]), state


def pinned_or_first(revision: dict[str, Any], name: str) -> bool:
    """Whether the pods start: those of `two-tower-b` that follow the pointer find no release."""
    return name == "two-tower" or bool(pinned(revision["spec"]))


def seen(status: dict[str, Any]) -> tuple[Any, ...]:
    """The revisions of a status, and the traffic as (revision, percent, tag)."""
    revisions = [status.get(f"{word}Revision", "") for word in ("latestCreated", "latestReady", "latestRolledout")]
    traffic = [(one["revisionName"], one["percent"], one.get("tag")) for one in status.get("traffic", [])]
    return (*revisions, status.get("previousRolledoutRevision", ""), traffic)


def recorded(state: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((RECORDED / f"isvc_knative_{state}.json").read_text())
    return body
