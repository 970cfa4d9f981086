"""What is particular to two slots: the HTTPRoute, the objects of the users, and slots that change."""

from pathlib import Path

import pytest

from tests.schemas import check_http_route
from tests.two_tower import parts
from tests.two_tower.cluster import Cluster
from tests.two_tower.deployment.conftest import consistent
from tests.two_tower.deployment.requests import QUESTIONS, no_service, settings
from tests.two_tower.kserve_controller import Installation
from two_tower.deployment import deploy, manifests, smoke_test
from two_tower.errors import InputError
from two_tower.releases import release

NAMESPACE = "namespaces/shop"
ROUTE = f"/apis/gateway.networking.k8s.io/v1/{NAMESPACE}/httproutes/two-tower"
DEPLOYMENTS = f"/apis/apps/v1/{NAMESPACE}/deployments"
SERVICES = f"/api/v1/{NAMESPACE}/services"


@pytest.fixture(params=["kserve", "kubernetes"])
def config(request: pytest.FixtureRequest, kube: Cluster):
    kube.kserve = Installation(default="Standard", knative=False)
    return settings(kube, deployer=request.param)


def route(kube: Cluster) -> None:
    """An HTTPRoute as a user applies it, with two rules."""
    backends = {"backendRefs": [{"name": "two-tower", "port": 80}]}
    matches = [{"path": {"type": "PathPrefix", "value": "/v1"}}]
    rules = [{"matches": matches, **backends}, backends]
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": {"name": "two-tower"}}
    kube.put(ROUTE, kind | {"spec": {"hostnames": ["shop.example"], "rules": rules}})


def test_a_route_gives_the_staged_release_its_share_when_it_is_ready(
    config, kube: Cluster, releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, first, second = releases
    route(kube)
    during = []

    def run(*args, **options):
        during.append(kube.weights())
        check_http_route(kube.objects[ROUTE])
        return original(*args, **options)

    original = smoke_test.run
    monkeypatch.setattr(smoke_test, "run", run)
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    assert during == [{}] and kube.weights() == {first: 100}, "the first release gets no traffic before its test"
    deploy.deploy(second, where, QUESTIONS, config, no_service)
    assert during[1] == {first: 90, second: 10} and kube.weights() == {second: 100}
    rules = kube.objects[ROUTE]["spec"]["rules"]
    assert rules[0]["matches"] and {one["backendRefs"][0]["name"] for one in rules} == {"two-tower"}, "as applied"

    deploy.create_deployer(where, config, no_service).restore_previous()
    assert kube.weights() == {first: 100}
    kube.answers[second] = "fails"
    deploy.deploy(second, where, QUESTIONS, config, no_service)
    assert kube.weights() == {first: 100}


def test_pods_that_are_not_ready_get_no_share(config, kube: Cluster, releases) -> None:
    where, first, second = releases
    route(kube)
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    kube.never.add(second)
    kube.log.clear()
    deploy.deploy(second, where, QUESTIONS, settings(kube, deployer=config.deployer, ready_timeout=1), no_service)
    patches = [body["spec"]["rules"][0]["backendRefs"] for _, path, body in kube.log if path == ROUTE and body]
    assert patches and all(len(backends) == 1 for backends in patches)


def test_a_refused_release_gives_its_slot_back_to_the_earlier_one(
    config, kube: Cluster, releases, tmp_path: Path
) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    deploy.deploy(second, where, QUESTIONS, config, no_service)
    third = release.publish(where, [consistent(tmp_path / "c", prefix="c")], parts.manifest())
    kube.answers[third] = "fails"
    assert not deploy.deploy(third, where, QUESTIONS, config, no_service).passed
    assert kube.shares() == {second: 100}
    assert deploy.create_deployer(where, config, no_service).restore_previous() == first
    kube.answers.clear()
    assert deploy.deploy(third, where, QUESTIONS, config, no_service).passed, "its slot ran another release before"
    assert kube.shares() == {third: 100}


def test_the_next_slot_is_a_copy_of_the_one_that_serves(kube: Cluster, releases) -> None:
    where, first, second = releases
    config = settings(kube, deployer="kubernetes")
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    blue = kube.objects[f"{DEPLOYMENTS}/two-tower-blue"]["spec"]
    blue["replicas"] = 7
    blue["template"]["spec"]["containers"][0]["image"] = "registry/changed:1"
    deploy.deploy(second, where, QUESTIONS, config, no_service)
    green = kube.objects[f"{DEPLOYMENTS}/two-tower-green"]["spec"]
    assert green["replicas"] == 7
    assert green["template"]["spec"]["containers"][0]["image"] == "registry/changed:1"
    assert manifests.pinned_release(green["template"]["spec"]) == second
    assert green["selector"]["matchLabels"].items() <= green["template"]["metadata"]["labels"].items()


def test_a_slot_that_was_scaled_to_zero_is_not_restored(kube: Cluster, releases) -> None:
    where, first, second = releases
    config = settings(kube, deployer="kubernetes")
    for one in (first, second):
        deploy.deploy(one, where, QUESTIONS, config, no_service)
    path = f"{DEPLOYMENTS}/two-tower-blue"
    kube.put(path, {**kube.objects[path], "spec": {**kube.objects[path]["spec"], "replicas": 0}})
    with pytest.raises(InputError, match=f"not ready.*0 of 0 pods.*releases activate {first}"):
        deploy.create_deployer(where, config, no_service).restore_previous()
    assert deploy.deploy(first, where, QUESTIONS, config, no_service).passed
    assert kube.objects[path]["spec"]["replicas"] == 2


def test_a_service_of_the_user_is_switched_when_the_release_is_promoted(kube: Cluster, releases) -> None:
    where, first, _ = releases
    service = manifests.service("two-tower", "two-tower-blue")
    service["spec"]["selector"] = {"app": "ours"}
    kube.put(f"{SERVICES}/two-tower", service)
    config = settings(kube, deployer="kubernetes")
    kube.answers[first] = "fails"
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    assert kube.objects[f"{SERVICES}/two-tower"]["spec"]["selector"] == {"app": "ours"}
    kube.answers.clear()
    assert deploy.deploy(first, where, QUESTIONS, config, no_service).passed
    assert kube.shares() == {first: 100}


def test_an_interrupted_rollback_is_continued(config, kube: Cluster, releases, monkeypatch: pytest.MonkeyPatch) -> None:
    where, first, second = releases
    for one in (first, second):
        deploy.deploy(one, where, QUESTIONS, config, no_service)
    deployer = deploy.create_deployer(where, config, no_service)
    with monkeypatch.context() as patched:
        patched.setattr(release, "activate", refuse)
        with pytest.raises(OSError, match="not writable"):
            deployer.restore_previous()
    assert deploy.create_deployer(where, config, no_service).restore_previous() == first
    assert kube.shares() == {first: 100} and release.current(where) == first


def refuse(*_: object) -> None:
    raise OSError("the store is not writable")


def test_an_interrupted_stage_is_continued(config, kube: Cluster, releases, monkeypatch: pytest.MonkeyPatch) -> None:
    where, first, second = releases
    deploy.deploy(first, where, QUESTIONS, config, no_service)
    deploy.create_deployer(where, config, no_service).stage(second)  # and the step is killed
    assert kube.shares() == {first: 100}
    assert deploy.deploy(second, where, QUESTIONS, config, no_service).passed
    assert kube.shares() == {second: 100} and release.current(where) == second
