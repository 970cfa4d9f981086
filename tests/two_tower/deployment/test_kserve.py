"""Deployments in every mode and version, against a stand-in cluster, over HTTP, of releases that are real files."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.schemas import check, check_inference_service
from tests.two_tower.cluster import Cluster
from tests.two_tower.deployment.requests import ASKED, QUESTIONS, no_service, settings
from tests.two_tower.kserve_controller import Installation
from two_tower.deployment import deploy, kserve, manifests
from two_tower.errors import InputError
from two_tower.releases import release

KUSTOMIZE = Path(__file__).parents[3] / "deploy" / "kustomize"
ROUTE = "/apis/gateway.networking.k8s.io/v1/namespaces/shop/httproutes/two-tower"
INFERENCE_SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/shop/inferenceservices"
CLUSTERS = {
    **{f"knative 0.{version}": Installation(version=version) for version in (15, 16, 20)},
    **{f"standard 0.{version}": Installation(version=version, default="Standard") for version in (15, 16, 20)},
    "default knative, not installed, 0.15": Installation(version=15, knative=False),
    "default knative, not installed, 0.20": Installation(knative=False),
    "kubernetes": Installation(knative=False),
}


MODES = ("knative 0.20", "standard 0.20", "kubernetes")


@pytest.fixture(params=MODES)
def config(request: pytest.FixtureRequest, kube: Cluster):
    kube.kserve = CLUSTERS[request.param]
    if request.param.startswith("standard 0.15"):
        kube.kserve = replace(kube.kserve, default="RawDeployment")
    return settings(kube, deployer="kubernetes" if request.param == "kubernetes" else "kserve", ready_timeout=30)


@pytest.mark.parametrize("config", CLUSTERS, indirect=True)
def test_releases_are_deployed_refused_and_rolled_back(config, kube: Cluster, releases) -> None:
    where, first, second = releases
    kube.answers[first] = "fails"
    refused = deploy.deploy(first, where, QUESTIONS, config, no_service)
    assert refused.reasons[-1] == "Rolled back: no release serves as before."
    kube.settle()
    assert kube.objects == {} and release.current(where) is None, "nothing is left behind"
    kube.answers.clear()
    kube.requests.clear()

    verdict = deploy.deploy(first, where, QUESTIONS, config, no_service)
    assert (verdict.passed, verdict.details["action"], verdict.details["before"]) == (True, "promoted", None)
    assert kube.requests == {first: ASKED} and kube.shares() == {first: 100} and release.current(where) == first
    kube.settle()
    assert not any("-first" in path for path in kube.objects)

    verdict = deploy.deploy(second, where, QUESTIONS, config, no_service)
    assert (verdict.details["action"], verdict.details["before"]) == ("promoted", first)
    assert kube.shares() == {second: 100} and release.current(where) == second

    assert deploy.create_deployer(where, config, no_service).restore_previous() == first
    assert kube.shares() == {first: 100} and release.current(where) == first

    kube.answers[second] = "fails"
    refused = deploy.deploy(second, where, QUESTIONS, config, no_service)
    assert refused.reasons[-1] == f"Rolled back: {first} serves as before."
    assert kube.shares() == {first: 100} and release.current(where) == first
    kube.answers.clear()
    assert deploy.deploy(second, where, QUESTIONS, config, no_service).details["action"] == "promoted"
    assert kube.shares() == {second: 100}


def test_objects_are_as_their_schemas_require(config, kube: Cluster, releases) -> None:
    where, first, second = releases
    for one in (first, second):
        deploy.deploy(one, where, QUESTIONS, config, no_service)
    made = [(path, json.loads(json.dumps(body))) for method, path, body in kube.log if method == "POST"]
    assert made
    for path, body in made:
        if path.partition("?")[0].endswith("inferenceservices"):
            check_inference_service(body)
        else:
            check(body)


def test_the_role_of_the_overlay_allows_each_call(config, kube: Cluster, releases, request) -> None:
    where, first, second = releases
    kube.put(ROUTE, {"metadata": {"name": "two-tower"}, "spec": {"rules": [{}]}})
    kube.answers[first] = "fails"
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    kube.answers.clear()
    for one in (first, second):
        deploy.deploy(one, where, QUESTIONS, config, no_service)
    deploy.create_deployer(where, config, no_service).restore_previous()
    mode = request.node.callspec.params["config"].split()[0]
    file = KUSTOMIZE / ("knative" if mode == "knative" else f"overlays/{mode}") / "role.yaml"
    rules = yaml.safe_load(file.read_text())["rules"]
    calls = {call for method, path, _ in kube.log if (call := permission(method, path))}
    assert [call for call in calls if not any(allows(rule, *call) for rule in rules)] == []
    unlimited = [
        rule["verbs"] for rule in rules if "resourceNames" not in rule and "revisions" not in rule["resources"]
    ]
    assert all(verbs == ["create"] for verbs in unlimited)


def permission(method: str, path: str) -> tuple[str, str, str, str] | None:
    """Verb, API group, collection and name of a call; None for the discovery, which every account may ask."""
    match = re.fullmatch(r"/(?:api|apis/([^/]+))/v1(?:beta1)?/namespaces/shop/(\w+)(?:/([^/?]+))?(?:\?.*)?", path)
    if not match:
        assert path == "/apis/serving.knative.dev/v1"
        return None
    verb = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
    return verb, match[1] or "", match[2], match[3] or ""


def allows(rule: dict[str, list[str]], verb: str, group: str, plural: str, name: str) -> bool:
    """Whether RBAC takes a rule for a call: `create` has no name."""
    named = "resourceNames" not in rule or name in rule["resourceNames"]
    return verb in rule["verbs"] and group in rule["apiGroups"] and plural in rule["resources"] and named


def test_an_interrupted_promotion_is_finished(config, kube: Cluster, releases) -> None:
    """The traffic was changed, the pointer was not: as after a step that was killed in between."""
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    deploy.deploy(second, where, QUESTIONS, config, no_service)
    release.activate(where, first)
    assert deploy.deploy(second, where, QUESTIONS, config, no_service).details["action"] == "promoted"
    assert release.current(where) == second and kube.shares() == {second: 100}


def test_a_release_that_does_not_become_ready_is_rolled_back(config, kube: Cluster, releases) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    kube.never.add(second)
    verdict = deploy.deploy(second, where, QUESTIONS, replace(config, ready_timeout=1), no_service)
    assert "was not ready within 1 s" in verdict.reasons[0] and "kubectl -n shop describe" in verdict.reasons[0]
    assert kube.shares() == {first: 100} and release.current(where) == first and not kube.requests[second]


def test_there_is_no_earlier_release_to_restore(config, kube: Cluster, releases) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    with pytest.raises(InputError, match="two-tower releases activate ID"):
        deploy.create_deployer(where, config, no_service).restore_previous()
    assert kube.shares() == {first: 100} and release.current(where) == first


def test_the_container_gets_the_keys_of_the_object_store(config, kube: Cluster, releases) -> None:
    where, first, _ = releases
    deploy.deploy(first, where, QUESTIONS, replace(config, storage_secret="s3-credentials"), no_service)
    for method, path, body in kube.log:
        if method == "POST" and path.endswith(("inferenceservices", "deployments")):
            spec = body["spec"].get("predictor") or body["spec"]["template"]["spec"]
            assert spec["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-credentials"}}]


def test_an_inference_service_in_standard_mode_is_not_taken_over(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.kserve = Installation(default="Standard")
    kube.put(f"{INFERENCE_SERVICES}/two-tower", manifests.inference_service(where, settings(kube), None))
    with pytest.raises(InputError, match=r"mode Standard.*kubectl -n shop delete inferenceservice two-tower"):
        deploy.deploy(first, where, QUESTIONS, settings(kube), no_service)
    assert kube.changes() == []


def test_a_lost_response_to_a_creation_is_no_conflict(config, kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.lost = 1
    assert deploy.deploy(first, where, QUESTIONS, config, no_service).passed
    assert kube.lost == 0 and kube.shares() == {first: 100}


def test_a_service_that_is_still_being_deleted_is_waited_for(config, kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.answers[first] = "fails"
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    kube.answers.clear()
    assert deploy.deploy(first, where, QUESTIONS, config, no_service).passed


def test_an_inference_service_of_a_model_is_not_changed(kube: Cluster, releases) -> None:
    service = {
        "metadata": {"name": "two-tower", "annotations": {}},
        "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}}}},
    }
    kube.objects[f"{INFERENCE_SERVICES}/two-tower"] = service | {"status": {"deploymentMode": "Knative"}}
    kube.kserve = Installation(knative=False)  # its controller has nothing to do
    with pytest.raises(InputError, match="no container of its own"):
        kserve.connect(releases[0], settings(kube))


def test_a_mode_of_no_use_is_refused(kube: Cluster, releases) -> None:
    kube.kserve = Installation(default="ModelMesh")
    path = f"{INFERENCE_SERVICES}/two-tower"
    service = manifests.inference_service(releases[0], settings(kube), None)
    service["status"] = {"deploymentMode": "ModelMesh"}
    kube.objects[path] = {**service, "metadata": {**service["metadata"], "generation": 1}}
    with pytest.raises(InputError, match="mode ModelMesh"):
        kserve.connect(releases[0], settings(kube))
