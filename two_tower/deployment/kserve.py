"""Deployment to a KServe InferenceService: a revision for each release, a canary share, promotion and rollback.

KServe creates a new revision of the service when its containers change, and splits the traffic between the new revision
and the last one that received all of it. So the id of the release is in the container's environment. A rollback sets
the share of the new revision to zero: the previous revision still runs and receives all traffic at once.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

from two_tower.config import DeployConfig
from two_tower.deployment.kubernetes import Kubernetes
from two_tower.errors import InputError
from two_tower.releases import release

PINNED = "TWO_TOWER_RELEASE"  # environment variable that `two-tower serve` reads: the release to serve
PROMOTED = "two-tower/promoted"  # annotation: the release that was promoted last
CREATED = "two-tower/created"  # annotation: `stage` created the service, and no release served before
TAGS = "serving.kserve.io/enable-tag-routing"  # annotation: the newest revision has its own address
POLL_INTERVAL = 2.0  # seconds
PORT = 8080


class NotReadyError(Exception):
    """A staged release did not become ready. The message quotes the cluster's conditions."""


class KServe:
    """Deploys releases to an InferenceService (see `deploy.Deployer`).

    Args:
        releases: URL of the releases.
        config: Settings of the deployment.
        api: Client of the cluster's API server.
    """

    def __init__(self, releases: str, config: DeployConfig, api: Kubernetes) -> None:
        self._releases, self._config, self._api = releases, config, api
        self._collection = f"/apis/serving.kserve.io/v1beta1/namespaces/{api.namespace}/inferenceservices"
        self._service = f"{self._collection}/{config.service}"
        self._revision_before: str | None = None  # set while a new revision has to appear

    @classmethod
    def connect(cls, releases: str, config: DeployConfig) -> "KServe":
        """Connect to the cluster that the settings name.

        Raises:
            InputError: The pods of the cluster cannot read the releases, or the cluster is not known.
        """
        if "://" not in releases:
            raise InputError(
                f"releases={releases!r} is a folder on this machine, and the pods of a service cannot read it. Publish "
                "to object storage: --releases s3://BUCKET/PREFIX."
            )
        return cls(releases, config, Kubernetes(config.kubernetes_api, config.namespace))

    def serving(self) -> str | None:
        """Return the promoted release; None if the pointer names another one, since a promotion was interrupted."""
        service = self._api.get(self._service)
        promoted = _annotations(service).get(PROMOTED) if service else None
        return promoted if promoted == release.current(self._releases) else None

    def stage(self, release_id: str) -> None:
        release.verify(self._releases, release_id)
        service = self._api.get(self._service)
        if service is None:
            new = inference_service(self._releases, self._config, release_id)
            new["metadata"]["namespace"] = self._api.namespace
            self._api.create(self._collection, new)
            self._revision_before = ""
            return
        _check_mode(service, self._config.service)
        before = service["spec"]["predictor"]["containers"]
        containers = _pinned(before, release_id)
        if containers != before:
            self._revision_before = _predictor(service).get("latestCreatedRevision", "")
        predictor: dict[str, Any] = {"canaryTrafficPercent": self._config.canary_percent, "containers": containers}
        if CREATED in _annotations(service):  # no other release serves that could receive the rest of the traffic
            predictor["canaryTrafficPercent"] = None
        self._api.merge_patch(
            self._service, {"metadata": {"annotations": {TAGS: "true"}}, "spec": {"predictor": predictor}}
        )

    def wait(self) -> str:
        deadline = time.monotonic() + self._config.ready_timeout
        while True:
            service = self._api.get(self._service) or {}
            reason = self._not_ready(service)
            if not reason:
                return self._address(service)
            if time.monotonic() >= deadline:
                raise NotReadyError(
                    f"InferenceService {self._config.service} was not ready within {self._config.ready_timeout} s: "
                    f"{reason}. See `kubectl -n {self._api.namespace} describe inferenceservice "
                    f"{self._config.service}` and its pods' events."
                )
            sys.stderr.write(f"deploy: waiting: {reason}\n")
            time.sleep(min(POLL_INTERVAL, self._config.ready_timeout / 10))

    def promote(self, release_id: str) -> None:
        change = {
            "metadata": {"annotations": {PROMOTED: release_id, CREATED: None}},
            "spec": {"predictor": {"canaryTrafficPercent": None}},
        }
        self._api.merge_patch(self._service, change)
        release.activate(self._releases, release_id)

    def roll_back(self) -> None:
        service = self._api.get(self._service)
        if service is None:
            return
        if CREATED in _annotations(service):
            self._api.delete(self._service)
        else:
            self._api.merge_patch(self._service, {"spec": {"predictor": {"canaryTrafficPercent": 0}}})

    def _not_ready(self, service: Mapping[str, Any]) -> str:
        """The reason why the staged release is not ready; empty if it is."""
        predictor = _predictor(service)
        created, ready = (predictor.get(f"latest{word}Revision", "") for word in ("Created", "Ready"))
        if not created or created == self._revision_before:
            return "KServe has not created the new revision yet"
        conditions = service.get("status", {}).get("conditions", [])
        # Since 0.16, KServe always reports the condition `Stopped` with status False, as information.
        failing = [c for c in conditions if c.get("status") == "False" and c.get("severity") != "Info"]
        if created != ready or failing:
            reasons = [f"{c['type']}: {c.get('reason', '')} {c.get('message', '')}".strip() for c in failing]
            return "; ".join(reasons) or f"revision {created} is starting"
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
        return "" if is_ready else f"revision {created} has no route yet"

    def _address(self, service: Mapping[str, Any]) -> str:
        """The address of the newest revision: its local name inside the cluster, the URL of its tag outside."""
        tagged = [t["url"] for t in _predictor(service).get("traffic", []) if t.get("tag") == "latest" and t.get("url")]
        if tagged and not self._config.kubernetes_api:
            return f"http://latest-{self._config.service}-predictor.{self._api.namespace}.svc.cluster.local"
        return str(tagged[0] if tagged else service["status"]["url"]).rstrip("/")


def inference_service(releases: str, config: DeployConfig, release_id: str | None) -> dict[str, Any]:
    """Return the InferenceService that `stage` creates; deploy/kustomize/base holds the same one for editing.

    Args:
        releases: URL of the releases.
        config: Settings of the deployment.
        release_id: The release to serve; None follows the pointer `current`.
    """
    limits = {"cpu": "2", "memory": "4Gi"}
    container = {
        "name": "kserve-container",
        "image": config.serving_image,
        "args": ["--releases", releases],
        "ports": [{"containerPort": PORT, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "1", "memory": "2Gi"}, "limits": limits},
        "readinessProbe": _probe("ready", period=5),
        "livenessProbe": _probe("live", period=10),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an empty volume of the pod
    }
    annotations = {TAGS: "true", "serving.kserve.io/deploymentMode": "Serverless"}
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": config.service,
            "labels": {"app.kubernetes.io/name": "two-tower", "app.kubernetes.io/component": "serving"},
            "annotations": {**annotations, **({CREATED: "true"} if release_id else {})},
        },
        "spec": {
            "predictor": {
                "serviceAccountName": config.serving_account,
                "minReplicas": 2,
                "maxReplicas": 10,
                "scaleMetric": "concurrency",
                "scaleTarget": 16,
                "timeout": 10,
                "containers": [container],
                "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "4Gi"}}],
            }
        },
    }
    if release_id:
        container["env"] = [{"name": PINNED, "value": release_id}]
    return service


def _probe(check: str, period: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{check}", "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": 6,
    }


def _pinned(containers: list[dict[str, Any]], release_id: str) -> list[dict[str, Any]]:
    """The containers, unchanged except for the id of the release in the environment of the first one."""
    first, *others = containers
    env = [variable for variable in first.get("env", []) if variable["name"] != PINNED]
    return [{**first, "env": [*env, {"name": PINNED, "value": release_id}]}, *others]


def _check_mode(service: Mapping[str, Any], name: str) -> None:
    mode = service.get("status", {}).get("deploymentMode", "")
    if mode in ("RawDeployment", "Standard"):
        raise InputError(
            f"InferenceService {name} is deployed in the mode {mode}, in which KServe does not split traffic. Annotate "
            "it with serving.kserve.io/deploymentMode: Serverless (Knative), or deploy with --set deployer=local."
        )


def _annotations(service: Mapping[str, Any]) -> Mapping[str, str]:
    return service["metadata"].get("annotations") or {}


def _predictor(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of the predictor."""
    return service.get("status", {}).get("components", {}).get("predictor", {})
