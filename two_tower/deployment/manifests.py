"""Kubernetes objects of the service; deploy/kustomize holds the same ones for editing."""

from collections.abc import Mapping
from typing import Any

from two_tower.config import DeployConfig

PINNED = "TWO_TOWER_RELEASE"  # environment variable that `two-tower serve` reads: the release to serve
INSTANCE = "app.kubernetes.io/instance"  # label of the pods that one Service selects
TAGS = "serving.kserve.io/enable-tag-routing"  # annotation: the newest revision has its own address
VISIBILITY = "networking.kserve.io/visibility"  # label: whether KServe makes an ingress
HTTP_PORT, GRPC_PORT = 8080, 8081
DRAIN = 5  # seconds in which the load balancers stop sending requests to a pod that ends
GRACE = 30  # seconds for the requests in flight: DRAIN, then 6 for HTTP, 2 for gRPC and 1 for the feature log
TOKENS = "two-tower-tokens"  # optional Secret with the tokens of the service: keys `admin` and `items`


def inference_service(releases: str, config: DeployConfig, release_id: str | None) -> dict[str, Any]:
    """Return the InferenceService for KServe's Knative mode.

    The mode is that of the cluster. Knative does not accept `lifecycle` or `terminationGracePeriodSeconds`; the pods'
    grace period is `timeout`.

    Args:
        releases: URL of the releases.
        config: Settings of the deployment.
        release_id: The release to serve; None follows the pointer `current`.
    """
    container = _container("kserve-container", releases, config, release_id)
    scaling = {"minReplicas": 2, "maxReplicas": 10, "scaleMetric": "concurrency", "scaleTarget": 16, "timeout": GRACE}
    metadata = {"labels": _labels(config.service), "annotations": {TAGS: "true"}}
    return _inference_service(config.service, metadata, {**scaling, **_pod(container, config)})


def standard_inference_service(
    slot: str, releases: str, config: DeployConfig, release_id: str | None
) -> dict[str, Any]:
    """Return the InferenceService of a slot for KServe's Standard mode, without an ingress of its own."""
    container = {**_container("kserve-container", releases, config, release_id), **_drained()}
    scaling = {"minReplicas": 2, "maxReplicas": 10, "scaleMetric": "cpu", "scaleTarget": 80}
    predictor = {**scaling, "terminationGracePeriodSeconds": GRACE, **_pod(container, config)}
    return _inference_service(slot, {"labels": {**_labels(slot), VISIBILITY: "cluster-local"}}, predictor)


def deployment(slot: str, releases: str, config: DeployConfig, release_id: str | None) -> dict[str, Any]:
    """Return the Deployment of a slot."""
    container = {**_container("two-tower", releases, config, release_id), **_drained()}
    pod = {"terminationGracePeriodSeconds": GRACE, **_pod(container, config)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": slot, "labels": _labels(slot)},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {INSTANCE: slot}},
            "template": {"metadata": {"labels": _labels(slot)}, "spec": pod},
        },
    }


def service(name: str, slot: str) -> dict[str, Any]:
    """Return the Service `name` that sends requests to the pods of a slot."""
    ports = [("http", 80, HTTP_PORT, "http"), ("grpc", GRPC_PORT, GRPC_PORT, "kubernetes.io/h2c")]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": _labels(name)},
        "spec": {
            "selector": {INSTANCE: slot},
            "ports": [
                {"name": port, "port": number, "targetPort": target, "protocol": "TCP", "appProtocol": protocol}
                for port, number, target, protocol in ports
            ],
        },
    }


def pinned_release(pod: Mapping[str, Any]) -> str | None:
    """Return the release in the environment of the first container of a pod; None if it follows the pointer."""
    env = pod["containers"][0].get("env") or []
    return next((variable.get("value") for variable in env if variable["name"] == PINNED), None)


def pin(pod: Mapping[str, Any], release_id: str) -> dict[str, Any]:
    """Return the pod with the id of the release in the environment of its first container."""
    first, *others = pod["containers"]
    env = [variable for variable in first.get("env") or [] if variable["name"] != PINNED]
    return {**pod, "containers": [{**first, "env": [*env, {"name": PINNED, "value": release_id}]}, *others]}


def _inference_service(name: str, metadata: dict[str, Any], predictor: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, **metadata},
        "spec": {"predictor": predictor},
    }


def _labels(instance: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "two-tower",
        "app.kubernetes.io/component": "serving",
        INSTANCE: instance,
    }


def _pod(container: dict[str, Any], config: DeployConfig) -> dict[str, Any]:
    """The account, the container and its volume: two releases at a switch and 1 GiB more have to fit into it."""
    return {
        "serviceAccountName": config.serving_account,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}}],
    }


def _container(name: str, releases: str, config: DeployConfig, release_id: str | None) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": config.serving_image,
        "args": ["--releases", releases],
        "env": [_token("admin"), _token("items")],
        "ports": [{"containerPort": HTTP_PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "4Gi"}},
        "startupProbe": _probe("live", period=5, failures=120),  # the imports take long on a busy node
        "readinessProbe": _probe("ready", period=5, failures=6),
        "livenessProbe": _probe("live", period=10, failures=6),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an empty volume of the pod
    }
    if config.storage_secret:
        container["envFrom"] = [{"secretRef": {"name": config.storage_secret}}]
    if release_id:
        container["env"].append({"name": PINNED, "value": release_id})
    return container


def _token(key: str) -> dict[str, Any]:
    secret = {"name": TOKENS, "key": key, "optional": True}
    return {"name": f"TWO_TOWER_{key.upper()}_TOKEN", "valueFrom": {"secretKeyRef": secret}}


def _drained() -> dict[str, Any]:
    return {"lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN)]}}}}


def _probe(check: str, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{check}", "port": HTTP_PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }
