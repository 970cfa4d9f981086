"""The questions of `two-tower doctor` to the Kubernetes API.

Names were read in kserve at aaac4e29, knative/serving at 98e5ef90 and kubeflow/pipelines at 7b70c7b9.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.kubeflow.cluster import MOUNT, TOLERATION, read
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.doctor import Finding
from pipelines.kubeflow.kube_access import KubeAccess, NotAnsweredError
from pipelines.kubeflow.versions import version_of
from two_tower.config.fields import split

OLDEST, NEWEST = (0, 15), (0, 20)  # versions of KServe that the deployer knows
FLAGS = ("kubernetes.podspec-nodeselector", "kubernetes.podspec-tolerations")
OPTIONAL = {  # API group: topic, what works, what to do without it
    "gateway.networking.k8s.io": ("gateway api", "a canary by share of traffic without Knative", "no canary by share"),
    "trainer.kubeflow.org": ("trainer", "training on several nodes: deploy/trainer", "training in one pod"),
    "monitoring.coreos.com": ("prometheus", "metrics and alerts", "leave out metrics.yaml and alerts.yaml"),
}
DEPLOYER = "two-tower-deployer"  # service account of the manifests


@dataclass(frozen=True)
class Cluster:
    """A cluster, and what is to run there.

    Attributes:
        access: The Kubernetes API.
        plan: Pipeline and settings.
        namespace: Namespace of the runs.
        account: Service account of the steps.
    """

    access: KubeAccess
    plan: Plan
    namespace: str
    account: str

    def groups(self) -> set[str]:
        """Names of the API groups."""
        listed = self.access.get("/apis") or {}
        return {group["name"] for group in listed.get("groups", [])}

    def config_map(self, namespace: str, name: str) -> dict[str, str] | None:
        """Data of a ConfigMap; None if it does not exist."""
        found = self.access.get(f"/api/v1/namespaces/{namespace}/configmaps/{name}")
        return None if found is None else found.get("data") or {}


def of_cluster(cluster: Cluster) -> Iterator[Finding]:
    """Ask all questions; one that is not answered is `unknown`, and the others are asked all the same."""
    for topic, question in QUESTIONS.items():
        try:
            yield from question(cluster)
        except NotAnsweredError as error:
            yield Finding(topic, "unknown", str(error))


def _kubernetes(cluster: Cluster) -> Iterator[Finding]:
    version = cluster.access.get("/version") or {}
    yield Finding("kubernetes", "works", f"version {version.get('gitVersion', 'unknown')}")


def _namespace(cluster: Cluster) -> Iterator[Finding]:
    name = cluster.namespace
    if cluster.access.get(f"/api/v1/namespaces/{name}") is None:
        yield Finding("namespace", "problem", f"{name} does not exist", "--namespace NAMESPACE")
    else:
        yield Finding("namespace", "works", f"{name} exists")


def _account(cluster: Cluster) -> Iterator[Finding]:
    path = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/{cluster.account}"
    if cluster.access.get(path) is None:
        detail = f"service account {cluster.account} does not exist in {cluster.namespace}"
        yield Finding("account", "problem", detail, "--set service_account=NAME")
    else:
        yield Finding("account", "works", f"the steps run as {cluster.account}")


def _permissions(cluster: Cluster) -> Iterator[Finding]:
    """Ask whether the account of the steps may deploy; `needed_rights` are those of deploy/kustomize."""
    deploy = cluster.plan.settings.deploy
    if deploy.deployer == "local":
        yield Finding("permissions", "works", "deployer=local needs no rights in the cluster")
        return
    namespace = deploy.namespace or cluster.namespace
    mode = _mode(cluster, cluster.groups())[0] or "Knative" if deploy.deployer == "kserve" else "none"
    missing = [
        f"{verb} {resource}" + (f"/{name}" if name else "")
        for verb, group, resource, name in needed_rights(mode, deploy.service)
        if not _is_allowed(cluster, namespace, {"verb": verb, "group": group, "resource": resource, "name": name})
    ]
    who = f"{cluster.account} in {namespace}"
    if missing:
        overlay = {"none": "overlays/kubernetes", "Standard": "overlays/standard"}.get(mode, "knative")
        setting = f"kubectl apply -f deploy/kustomize/{overlay}/role.yaml; --set service_account={DEPLOYER}"
        yield Finding("permissions", "problem", f"{who} may not: {', '.join(missing)}", setting)
    else:
        yield Finding("permissions", "works", f"{who} may deploy the service")


def needed_rights(mode: str, service: str) -> list[tuple[str, str, str, str]]:
    """Verb, API group, resource and name of each right of the deploy step.

    Args:
        mode: `Knative` or `Standard` of KServe, or `none` for the deployer `kubernetes`.
        service: Name of the service.
    """
    kserve = ("serving.kserve.io", "inferenceservices")
    if mode == "Knative":
        return [
            ("create", *kserve, ""),
            *((verb, *kserve, name) for name in (service, f"{service}-first") for verb in ("get", "patch")),
            ("delete", *kserve, f"{service}-first"),
            ("get", "serving.knative.dev", "revisions", ""),
        ]
    colours = [f"{service}-blue", f"{service}-green"]
    workload = ("apps", "deployments") if mode == "none" else kserve
    rights = [("create", *workload, "")]
    rights += [(verb, *workload, name) for name in colours for verb in ("get", "patch", "delete")]
    if mode == "Standard":
        rights += [("get", *kserve, service)]
        rights += [("get", "apps", "deployments", f"{name}-predictor") for name in colours]
    rights += [("create", "", "services", ""), ("get", "", "services", service), ("patch", "", "services", service)]
    return rights + [(verb, "", "services", name) for name in colours for verb in ("get", "delete")]


def _is_allowed(cluster: Cluster, namespace: str, attributes: Mapping[str, str]) -> bool:
    """Ask for the account of the steps, or, where that is not allowed and this is a pod, for the pod's own account."""
    spec: dict[str, Any] = {"resourceAttributes": {**attributes, "namespace": namespace}}
    root, kind = "/apis/authorization.k8s.io/v1", {"apiVersion": "authorization.k8s.io/v1"}
    user = f"system:serviceaccount:{cluster.namespace}:{cluster.account}"
    try:
        review = {**kind, "kind": "LocalSubjectAccessReview", "metadata": {"namespace": namespace}}
        path = f"{root}/namespaces/{namespace}/localsubjectaccessreviews"
        answer = cluster.access.create(path, {**review, "spec": {**spec, "user": user}})
    except NotAnsweredError as error:
        if not cluster.access.is_pod:
            hint = f"`kubectl auth can-i --list -n {namespace} --as={user}` shows the rights"
            raise NotAnsweredError(f"{error}; {hint}") from error
        answer = cluster.access.create(
            f"{root}/selfsubjectaccessreviews", {**kind, "kind": "SelfSubjectAccessReview", "spec": spec}
        )
    return bool(answer["status"].get("allowed"))


def _mode(cluster: Cluster, groups: set[str]) -> tuple[str, str]:
    """Mode in which KServe deploys a new service, and the namespace of KServe; both empty if they are not found."""
    for namespace in ("kserve", "kubeflow"):
        data = cluster.config_map(namespace, "inferenceservice-config")
        if data is not None:
            try:
                named = json.loads(data.get("deploy", "{}")).get("defaultDeploymentMode", "Knative")
            except ValueError as error:
                raise NotAnsweredError(f"inferenceservice-config in {namespace}: `deploy` is not JSON") from error
            knative = named in ("Knative", "Serverless") and "serving.knative.dev" in groups
            return "Knative" if knative else "Standard", namespace
    return "", ""


def _kserve(cluster: Cluster) -> Iterator[Finding]:
    deployer, groups = cluster.plan.settings.deploy.deployer, cluster.groups()
    if "serving.kserve.io" not in groups:
        if deployer == "kserve":
            yield Finding("kserve", "problem", "not installed", "--set deployer=kubernetes")
        else:
            yield Finding("kserve", "absent", f"not installed; deployer={deployer} does not need it")
        return
    mode, namespace = _mode(cluster, groups)
    path = f"/apis/apps/v1/namespaces/{namespace or 'kserve'}/deployments/kserve-controller-manager"
    manager = cluster.access.get(path) or {}
    containers = manager.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    images = [container["image"] for container in containers if "kserve-controller" in container["image"]]
    version = images[0].rpartition(":")[2] if images else "unknown"
    detail = f"version {version}, mode {mode or 'unknown'}"
    number = version_of(version)
    if number and not OLDEST <= number <= NEWEST:
        detail += "; the deployer was written for 0.15 to 0.20"
    yield Finding("kserve", "works", detail, "" if deployer == "kserve" else "--set deployer=kserve")


def _knative(cluster: Cluster) -> Iterator[Finding]:
    if "serving.knative.dev" not in cluster.groups():
        yield Finding("knative", "absent", "not installed; KServe deploys in Standard mode")
        return
    data = cluster.config_map("knative-serving", "config-features") or {}
    disabled = [flag for flag in FLAGS if data.get(flag, "disabled").lower() != "enabled"]
    setting = "enable them in ConfigMap config-features to place the service on certain nodes" if disabled else ""
    detail = f"installed; disabled: {', '.join(disabled)}" if disabled else f"installed; enabled: {', '.join(FLAGS)}"
    yield Finding("knative", "works", detail, setting)


def _optional(cluster: Cluster) -> Iterator[Finding]:
    groups = cluster.groups()
    for group, (topic, use, without) in OPTIONAL.items():
        installed = group in groups
        yield Finding(topic, "works" if installed else "absent", use if installed else f"not installed: {without}")
    katib = cluster.access.get("/apis/kubeflow.org/v1beta1") if "kubeflow.org" in groups else None
    if "experiments" in {one["name"] for one in (katib or {}).get("resources", [])}:
        yield Finding("katib", "works", "a search on many machines: two-tower tune --katib")
    else:
        yield Finding("katib", "absent", "not installed: two-tower tune searches on one machine")


def _accelerator(cluster: Cluster) -> Iterator[Finding]:
    config = cluster.plan.cluster
    if cluster.plan.pipeline == "refresh_items":
        yield Finding("accelerator", "works", "refresh_items trains nothing")
        return
    nodes = (cluster.access.get("/api/v1/nodes") or {}).get("items", [])
    count = {node["metadata"]["name"]: _number(node, config.accelerator) for node in nodes}
    others = {name for node in nodes for name in node["status"].get("allocatable", {}) if "/" in name}
    detail = f"{sum(count.values())} × {config.accelerator} on {sum(map(bool, count.values()))} of {len(nodes)} nodes"
    if not config.accelerators:
        yield Finding("accelerator", "works", f"accelerators=0: training runs on the CPU; the cluster has {detail}")
        return
    fitting = [node for node in nodes if _number(node, config.accelerator) >= config.accelerators]
    if not fitting:
        named = f"; resources of the nodes: {', '.join(sorted(others))}" if others else ""
        setting = "--set accelerators=0 --set device=cpu, or --set accelerator=RESOURCE"
        yield Finding(
            "accelerator", "problem", f"{detail}; a node with {config.accelerators} is needed{named}", setting
        )
        return
    tolerated = {read(TOLERATION, one)["key"] for one in split(config.tolerations) + split(config.train_tolerations)}
    taints = [_taints(node) - tolerated for node in fitting]
    if all(taints):
        keys = ", ".join(sorted(set().union(*taints)))
        setting = f"--set train_tolerations={sorted(taints[0])[0]}:NoSchedule, unless the cluster adds it"
        yield Finding("accelerator", "problem", f"{detail}, all of them tainted: {keys}", setting)
        return
    yield Finding("accelerator", "works", detail)


def _number(node: Mapping[str, Any], resource: str) -> int:
    return int(node["status"].get("allocatable", {}).get(resource, 0))


def _taints(node: Mapping[str, Any]) -> set[str]:
    """Keys of the taints that keep pods away."""
    return {taint["key"] for taint in node["spec"].get("taints", []) if taint["effect"] != "PreferNoSchedule"}


def _quota(cluster: Cluster) -> Iterator[Finding]:
    quotas = (cluster.access.get(f"/api/v1/namespaces/{cluster.namespace}/resourcequotas") or {}).get("items", [])
    for quota in quotas:
        status = quota.get("status", {})
        limits = {
            name: f"{status.get('used', {}).get(name, '0')} of {hard}" for name, hard in status.get("hard", {}).items()
        }
        full = [name for name, hard in status.get("hard", {}).items() if status.get("used", {}).get(name) == hard]
        listed = ", ".join(f"{name}: {limits[name]}" for name in full or limits)
        name = quota["metadata"]["name"]
        if full:
            detail = f"{name} is used up ({listed}): pods stay pending"
            yield Finding("quota", "problem", detail, "raise the quota, or end pods; --set data_memory, model_memory")
        else:
            yield Finding("quota", "works", f"{name}: {listed}")
    if not quotas:
        yield Finding("quota", "works", f"{cluster.namespace} has none")


def _volumes(cluster: Cluster) -> Iterator[Finding]:
    for one in split(cluster.plan.cluster.volumes):
        name = read(MOUNT, one)["name"]
        claim = cluster.access.get(f"/api/v1/namespaces/{cluster.namespace}/persistentvolumeclaims/{name}")
        if claim is None:
            yield Finding("volume", "problem", f"claim {name} does not exist in {cluster.namespace}", "--set volumes")
        else:
            yield Finding("volume", "works", f"claim {name} is {claim['status'].get('phase', 'Pending')}")


def images_on_nodes(access: KubeAccess) -> frozenset[str] | None:
    """Names of the images that nodes report; None if the nodes cannot be asked."""
    try:
        nodes = (access.get("/api/v1/nodes") or {}).get("items", [])
    except NotAnsweredError:
        return None
    images = [image for node in nodes for image in node["status"].get("images", [])]
    return frozenset(name for image in images for name in image.get("names") or ())


QUESTIONS: dict[str, Callable[[Cluster], Iterator[Finding]]] = {
    "kubernetes": _kubernetes,
    "namespace": _namespace,
    "account": _account,
    "permissions": _permissions,
    "quota": _quota,
    "volume": _volumes,
    "accelerator": _accelerator,
    "kserve": _kserve,
    "knative": _knative,
    "other parts": _optional,
}
