"""The questions of `two-tower doctor` to a stand-in for the API of kube-apiserver 1.36.2.

Its answers have the shapes of the API reference of Kubernetes (APIGroupList, NodeList, ResourceQuotaList, reviews); the
objects of KServe 0.20.0 and Knative Serving 1.23 have the names of their manifests (read, not run).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.doctor import Finding
from pipelines.kubeflow.doctor_cluster import Cluster, images_on_nodes, needed_rights, of_cluster
from pipelines.kubeflow.kube_access import KubeAccess
from tests.pipelines.cli.running import two_tower
from tests.two_tower.cluster import Handler, listening

GPU = "nvidia.com/gpu"
KUSTOMIZE = Path("deploy/kustomize")


def node(name: str, gpus: int = 0, taint: str = "", resource: str = GPU) -> dict[str, Any]:
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    images = [{"names": ["registry.example.com/shop/two-tower-data:0.1.0"], "sizeBytes": 1}]
    allocatable = {"cpu": "8", "memory": "64Gi", "hugepages-1Gi": "0", **({resource: str(gpus)} if gpus else {})}
    return {
        "metadata": {"name": name},
        "spec": {"taints": taints},
        "status": {"allocatable": allocatable, "images": images},
    }


def groups(*names: str) -> dict[str, Any]:
    return {"kind": "APIGroupList", "groups": [{"name": name, "versions": []} for name in ("apps", *names)]}


def kserve(version: str, mode: str) -> dict[str, Any]:
    spec = {"containers": [{"image": "proxy:1"}, {"image": f"kserve/kserve-controller:{version}"}]}
    return {
        "/apis/apps/v1/namespaces/kserve/deployments/kserve-controller-manager": {"spec": {"template": {"spec": spec}}},
        "/api/v1/namespaces/kserve/configmaps/inferenceservice-config": {
            "data": {"deploy": f'{{"defaultDeploymentMode": "{mode}"}}'}
        },
    }


ALL = ("serving.kserve.io", "serving.knative.dev", "trainer.kubeflow.org", "kubeflow.org")
OBJECTS: dict[str, Any] = {
    "/version": {"major": "1", "minor": "36", "gitVersion": "v1.36.2"},
    "/apis": groups(*ALL, "gateway.networking.k8s.io", "monitoring.coreos.com"),
    "/apis/kubeflow.org/v1beta1": {"kind": "APIResourceList", "resources": [{"name": "experiments"}]},
    "/api/v1/namespaces/shop": {"metadata": {"name": "shop"}},
    "/api/v1/namespaces/shop/serviceaccounts/two-tower-deployer": {"metadata": {"name": "two-tower-deployer"}},
    "/api/v1/namespaces/shop/resourcequotas": {"items": []},
    "/api/v1/namespaces/shop/persistentvolumeclaims/releases": {"status": {"phase": "Bound"}},
    "/api/v1/nodes": {"items": [node("a"), node("b", gpus=2)]},
    "/api/v1/namespaces/knative-serving/configmaps/config-features": {"data": {"_example": "text"}},
    **kserve("v0.20.0", "Knative"),
}


@contextmanager
def kubernetes(changes: dict[str, Any], denied: tuple[str, ...] = (), token: str = "") -> Iterator[str]:
    """changes: other answers by path; None: 404; an int: that status. denied: VERB RESOURCE that a review denies."""
    objects = {**OBJECTS, **changes}

    class Api(Handler):
        def do_GET(self) -> None:  # noqa: N802
            found = objects.get(self.path)
            if token and self.headers["Authorization"] != f"Bearer {token}":
                found = 401
            status = 404 if found is None else found if isinstance(found, int) else 200
            self.answer(status, found if status == 200 else {"kind": "Status", "message": "refused", "code": status})

        def do_POST(self) -> None:  # noqa: N802
            review = self.body()
            status = objects.get(review["kind"], 201)
            asked = review["spec"]["resourceAttributes"]
            allowed = f"{asked['verb']} {asked['resource']}" not in denied
            self.answer(
                status, {**review, "status": {"allowed": allowed}} if status == 201 else {"message": "forbidden"}
            )

    with listening(Api) as address:
        yield address


def ask(
    *assignments: str, pipeline: str = "training", denied: tuple[str, ...] = (), is_pod: bool = False, **changes: Any
) -> dict[str, Finding]:
    plan = Plan.of(pipeline, [*assignments])
    with kubernetes(changes.get("changes", {}), denied) as address:
        cluster = Cluster(KubeAccess(address, "default", is_pod=is_pod), plan, "shop", "two-tower-deployer")
        return {finding.topic: finding for finding in of_cluster(cluster)}


def test_a_cluster_that_has_everything() -> None:
    findings = ask("deployer=kserve", "volumes=releases:/mnt")
    assert {finding.state for finding in findings.values()} == {"works"}, findings
    assert findings["kserve"].detail == "version v0.20.0, mode Knative"
    assert findings["kubernetes"].detail == "version v1.36.2"
    assert "podspec-tolerations" in findings["knative"].detail
    assert findings["accelerator"].detail == "2 × nvidia.com/gpu on 1 of 2 nodes"


def test_an_empty_cluster_says_what_to_set() -> None:
    bare = {path: None for path in OBJECTS if "kserve" in path or "knative" in path} | {"/apis": groups()}
    findings = ask("deployer=kserve", changes=bare)
    assert (findings["kserve"].state, findings["kserve"].setting) == ("problem", "--set deployer=kubernetes")
    assert {findings[topic].state for topic in ("knative", "katib", "trainer", "prometheus", "gateway api")} == {
        "absent"
    }
    assert ask(changes=bare)["kserve"].detail == "not installed; deployer=local does not need it"


@pytest.mark.parametrize(
    ("version", "default", "knative", "mode"),
    [
        ("v0.20.0", "Knative", True, "Knative"),
        ("v0.15.2", "Serverless", True, "Knative"),
        ("v0.20.0", "Knative", False, "Standard"),
        ("v0.15.2", "RawDeployment", True, "Standard"),
        ("v0.20.0", "Standard", True, "Standard"),
    ],
)
def test_the_mode_of_kserve(version: str, default: str, knative: bool, mode: str) -> None:
    names = ("serving.kserve.io", *(["serving.knative.dev"] if knative else []))
    findings = ask(changes={**kserve(version, default), "/apis": groups(*names)})
    assert findings["kserve"].detail == f"version {version}, mode {mode}"


def test_an_unknown_version_of_kserve_is_named() -> None:
    assert "was written for 0.15 to 0.20" in ask(changes=kserve("v0.14.0", "Knative"))["kserve"].detail
    assert ask(changes=kserve("latest", "Knative"))["kserve"].detail == "version latest, mode Knative"
    broken = {"/api/v1/namespaces/kserve/configmaps/inferenceservice-config": {"data": {"deploy": "{"}}}
    assert ask(changes=broken)["kserve"].state == "unknown"


@pytest.mark.parametrize("status", [401, 403, 500])
def test_what_may_not_be_asked_is_unknown_and_the_rest_is_asked(status: int) -> None:
    findings = ask(changes={"/api/v1/nodes": status, "/api/v1/namespaces/shop/resourcequotas": status})
    assert findings["accelerator"].state == findings["quota"].state == "unknown"
    assert findings["accelerator"].detail == f"GET /api/v1/nodes: HTTP {status} refused"
    assert findings["kserve"].state == "works"


def test_a_namespace_and_an_account_that_are_missing() -> None:
    findings = ask(changes={path: None for path in OBJECTS if path.startswith("/api/v1/namespaces/shop")})
    assert findings["namespace"].state == findings["account"].state == "problem"
    assert findings["account"].setting == "--set service_account=NAME"


@pytest.mark.parametrize(
    ("assignments", "nodes", "state", "detail"),
    [
        (["accelerators=1"], [node("a")], "problem", "0 × nvidia.com/gpu on 0 of 1 nodes; a node with 1 is needed"),
        (["accelerators=4"], [node("a", 2), node("b", 2)], "problem", "a node with 4 is needed"),
        (["accelerators=1"], [node("a", 1, resource="amd.com/gpu")], "problem", "resources of the nodes: amd.com/gpu"),
        (["accelerators=1", "accelerator=amd.com/gpu"], [node("a", 1, resource="amd.com/gpu")], "works", "1 × amd.com"),
        (["accelerators=1"], [node("a", 1, taint=GPU)], "problem", "all of them tainted: nvidia.com/gpu"),
        (["accelerators=1", f"train_tolerations={GPU}:NoSchedule"], [node("a", 1, taint=GPU)], "works", "1 × nvidia"),
        (["accelerators=0"], [node("a")], "works", "training runs on the CPU"),
    ],
)
def test_accelerators(assignments: list[str], nodes: list[dict[str, Any]], state: str, detail: str) -> None:
    finding = ask(*assignments, changes={"/api/v1/nodes": {"items": nodes}})["accelerator"]
    assert finding.state == state and detail in finding.detail
    assert ask(*assignments, pipeline="refresh_items")["accelerator"].state == "works"


def test_a_quota_that_is_used_up_is_a_problem() -> None:
    status = {"hard": {"pods": "10", "requests.cpu": "8"}, "used": {"pods": "3", "requests.cpu": "8"}}
    quotas = {"items": [{"metadata": {"name": "team"}, "status": status}]}
    finding = ask(changes={"/api/v1/namespaces/shop/resourcequotas": quotas})["quota"]
    assert finding.state == "problem"
    assert finding.detail == "team is used up (requests.cpu: 8 of 8): pods stay pending"


def test_a_claim_that_is_missing_is_a_problem() -> None:
    assert ask("volumes=nope:/mnt")["volume"].detail == "claim nope does not exist in shop"


def test_rights_that_the_account_lacks_are_listed() -> None:
    finding = ask("deployer=kserve", denied=("create inferenceservices", "get revisions"))["permissions"]
    assert finding.state == "problem" and "may not: create inferenceservices, get revisions" in finding.detail
    assert "deploy/kustomize/knative/role.yaml" in finding.setting
    assert ask("deployer=local", denied=("create inferenceservices",))["permissions"].state == "works"
    standard = {"/apis": groups("serving.kserve.io")}
    finding = ask("deployer=kserve", denied=("patch services",), changes=standard)["permissions"]
    assert "overlays/standard" in finding.setting
    assert "overlays/kubernetes" in ask("deployer=kubernetes", denied=("create deployments",))["permissions"].setting


def test_a_caller_who_may_not_ask_for_others_is_told_how() -> None:
    forbidden = {"LocalSubjectAccessReview": 403}
    finding = ask("deployer=kserve", changes=forbidden)["permissions"]
    assert finding.state == "unknown" and "--as=system:serviceaccount:shop:two-tower-deployer" in finding.detail
    assert ask("deployer=kserve", changes=forbidden, is_pod=True)["permissions"].state == "works", "its own account"


@pytest.mark.parametrize(
    ("mode", "role"), [("Knative", "knative"), ("Standard", "overlays/standard"), ("none", "overlays/kubernetes")]
)
def test_the_rights_are_those_of_the_manifests(mode: str, role: str) -> None:
    rules = yaml.safe_load((KUSTOMIZE / role / "role.yaml").read_text())["rules"]
    granted = {
        (verb, group, resource, name)
        for rule in rules
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
    optional = {right for right in granted if right[2] == "httproutes"}  # asked for only if there is one
    assert set(needed_rights(mode, "two-tower")) == granted - optional


def test_images_on_nodes() -> None:
    with kubernetes({}) as address:
        assert images_on_nodes(KubeAccess(address, "")) == {"registry.example.com/shop/two-tower-data:0.1.0"}
    with kubernetes({"/api/v1/nodes": 403}) as address:
        assert images_on_nodes(KubeAccess(address, "")) is None
    assert images_on_nodes(KubeAccess("http://127.0.0.1:1", "")) is None


def test_the_command_with_kubernetes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.kubeflow.submit.IN_CLUSTER", "http://127.0.0.1:1")
    arguments = ["doctor", "--namespace", "shop", "--set", "service_account=two-tower-deployer"]
    with kubernetes({}) as address:
        result = two_tower(*arguments, "--kubernetes-api", address, "--set", "image_prefix=127.0.0.1:1/shop")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and lines[0].startswith("unknown  pipelines")
    assert "works    kubernetes   version v1.36.2" in lines and "works    namespace    shop exists" in lines
