import pytest

from tests.two_tower.cluster import Cluster
from tests.two_tower.deployment.requests import settings
from tests.two_tower.kserve_controller import MODE, Installation
from two_tower.deployment import deployment_mode, manifests
from two_tower.deployment.kubernetes import Kubernetes


@pytest.mark.parametrize(
    ("installation", "mode"),
    [
        (Installation(), ("Knative", {})),
        (Installation(version=15), ("Knative", {})),
        (Installation(default="Standard"), ("Standard", {})),
        (Installation(version=15, default="RawDeployment"), ("RawDeployment", {})),
        (Installation(knative=False), ("Standard", {MODE: "RawDeployment"})),
        (Installation(version=15, knative=False), ("Standard", {MODE: "RawDeployment"})),
    ],
)
def test_the_cluster_says_its_mode(kube: Cluster, installation: Installation, mode: tuple[str, dict[str, str]]) -> None:
    kube.kserve = installation
    manifest = manifests.inference_service("s3://b", settings(kube), None)
    assert deployment_mode.of_cluster(Kubernetes(kube.address, "shop"), manifest) == mode
    assert kube.objects == {} and kube.changes() == [], "a dry run stores nothing"


@pytest.mark.parametrize(
    ("annotation", "status", "patch"),
    [
        ("Serverless", "Knative", "Knative"),
        ("Knative", "Knative", None),
        (None, "Knative", None),
        ("Knative", None, None),
    ],
)
def test_an_old_name_is_replaced_by_the_reported_one(annotation, status, patch) -> None:
    service = {"metadata": {"annotations": {MODE: annotation} if annotation else {}}}
    service |= {"status": {"deploymentMode": status}} if status else {}
    assert deployment_mode.aligned(service) == ({"metadata": {"annotations": {MODE: patch}}} if patch else {})
