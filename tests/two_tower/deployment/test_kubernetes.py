import socket
from pathlib import Path

import pytest

from tests.two_tower.cluster import TOKEN, Cluster
from tests.two_tower.deployment.requests import QUESTIONS, no_service, settings
from tests.two_tower.kserve_controller import MODE
from two_tower.config import DeployConfig
from two_tower.deployment import deploy, kubernetes, manifests
from two_tower.errors import InputError


def test_an_api_server_that_restarts_is_waited_for(kube: Cluster, releases) -> None:
    where, first, _ = releases
    kube.failing.update({"GET": 2, "POST": 1})
    assert deploy.deploy(first, where, QUESTIONS, settings(kube), no_service).passed


@pytest.mark.parametrize(
    ("namespace", "token", "step"),
    [
        ("shop", "an-expired-token", "The token is expired"),
        ("forbidden", TOKEN, "the verb get: see the role.yaml in deploy/kustomize"),
        ("absent", TOKEN, "Create the namespace.*install KServe"),
    ],
)
def test_a_refusal_says_what_to_do(kube: Cluster, tmp_path: Path, namespace: str, token: str, step: str) -> None:
    (tmp_path / "token").write_text(token)
    api = kubernetes.Kubernetes(kube.address, namespace, account=tmp_path)
    where = f"/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"
    with pytest.raises(kubernetes.KubernetesError, match=step):
        api.create(where, {"metadata": {"name": "x"}}) if namespace == "absent" else api.get(where)


def test_an_address_where_nothing_listens(releases) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = DeployConfig(
            deployer="kserve", namespace="shop", kubernetes_api=f"http://127.0.0.1:{free.getsockname()[1]}"
        )
        with pytest.raises(InputError, match=r"no Kubernetes API server responds.*kubernetes_api"):
            deploy.deploy(releases[1], releases[0], QUESTIONS, config, no_service)


def test_outside_of_a_cluster_one_has_to_be_named(releases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(InputError, match="kubectl proxy"):
        deploy.deploy(
            releases[1], releases[0], QUESTIONS, DeployConfig(deployer="kserve", namespace="shop"), no_service
        )
    with pytest.raises(InputError, match="cannot read it"):
        deploy.deploy(releases[1], "/releases", QUESTIONS, DeployConfig(deployer="kserve"), no_service)


def test_a_refusal_of_a_webhook_is_not_a_missing_permission(kube: Cluster) -> None:
    api = kubernetes.Kubernetes(kube.address, "shop")
    path = api.path("serving.kserve.io/v1beta1", "inferenceservices")
    service = manifests.inference_service("s3://b", settings(kube), None)
    api.create(path, service)
    api.get(f"{path}/two-tower")
    other_mode = {"metadata": {"annotations": {MODE: "Standard"}}}
    with pytest.raises(kubernetes.KubernetesError, match="deploymentMode cannot be changed") as refusal:
        api.merge_patch(f"{path}/two-tower", other_mode)
    assert "Correct the cause" in str(refusal.value) and "the verb" not in str(refusal.value)
