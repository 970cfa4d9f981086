"""Releases behind a KServe InferenceService: each pinned to a revision, a canary share, all of the traffic, or none.

KServe makes a new revision of the service when its containers change, and splits the traffic between it and the last
one that had all of it. So the release is named in the container's environment. To roll back is to give the new
revision no traffic: the earlier one runs already, and takes it at once.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any

from two_tower.config import DeployConfig
from two_tower.deployment.kubernetes import Kubernetes
from two_tower.errors import InputError
from two_tower.releases import release

PINNED = "TWO_TOWER_RELEASE"  # environment variable that `two-tower serve` reads
PROMOTED = "two-tower/promoted"  # annotation: the release that was given all of the traffic last
CREATED = "two-tower/created"  # annotation: the service was made here, and nothing served before
TAGS = "serving.kserve.io/enable-tag-routing"  # gives the newest revision an address of its own
POLL_EVERY = 2.0  # seconds between two looks at the service
PORT = 8080


class NotReadyError(Exception):
    """A staged release did not become ready; the message says what the cluster said."""


class KServe:
    """A `deploy.Deployer`."""

    def __init__(self, releases: str, config: DeployConfig, api: Kubernetes) -> None:
        self._releases, self._config, self._api = releases, config, api
        self._all = f"/apis/serving.kserve.io/v1beta1/namespaces/{api.namespace}/inferenceservices"
        self._one = f"{self._all}/{config.service}"
        self._revision_before: str | None = None  # set where a new revision has to appear

    @classmethod
    def connect(cls, releases: str, config: DeployConfig) -> "KServe":
        """Raises InputError where the releases are not where a cluster's pods can read them."""
        if "://" not in releases:
            raise InputError(
                f"releases={releases!r} is a folder of this machine, and the pods of a service cannot read it. Publish "
                "to object storage: --releases s3://BUCKET/PREFIX."
            )
        return cls(releases, config, Kubernetes(config.kubernetes_api, config.namespace))

    def serving(self) -> str | None:
        """None also where the pointer names another release: an interrupted promotion has to be finished."""
        found = self._api.get(self._one)
        promoted = _annotations(found).get(PROMOTED) if found else None
        return promoted if promoted == release.current(self._releases) else None

    def stage(self, release_id: str) -> None:
        release.verify(self._releases, release_id)
        found = self._api.get(self._one)
        if found is None:
            made = inference_service(self._releases, self._config, release_id)
            self._api.create(self._all, {**made, "metadata": {**made["metadata"], "namespace": self._api.namespace}})
            self._revision_before = ""
            return
        _check_mode(found, self._config.service)
        before = found["spec"]["predictor"]["containers"]
        containers = _pinned(before, release_id)
        if containers != before:
            self._revision_before = _predictor(found).get("latestCreatedRevision", "")
        predictor = {"canaryTrafficPercent": self._config.canary_percent, "containers": containers}
        if CREATED in _annotations(found):  # nothing has served yet that a share could be left to
            predictor["canaryTrafficPercent"] = None
        self._api.merge_patch(
            self._one, {"metadata": {"annotations": {TAGS: "true"}}, "spec": {"predictor": predictor}}
        )

    def wait(self) -> str:
        until = time.monotonic() + self._config.ready_timeout
        while True:
            found = self._api.get(self._one) or {}
            lacking = self._lacking(found)
            if not lacking:
                return self._address(found)
            if time.monotonic() >= until:
                raise NotReadyError(
                    f"InferenceService {self._config.service} was not ready within {self._config.ready_timeout} s: "
                    f"{lacking}. See `kubectl -n {self._api.namespace} describe inferenceservice "
                    f"{self._config.service}` and its pods' events."
                )
            sys.stderr.write(f"deploy: waiting: {lacking}\n")
            time.sleep(min(POLL_EVERY, self._config.ready_timeout / 10))

    def promote(self, release_id: str) -> None:
        change = {
            "metadata": {"annotations": {PROMOTED: release_id, CREATED: None}},
            "spec": {"predictor": {"canaryTrafficPercent": None}},
        }
        self._api.merge_patch(self._one, change)
        release.activate(self._releases, release_id)

    def roll_back(self) -> None:
        found = self._api.get(self._one)
        if found is None:
            return
        if CREATED in _annotations(found):
            self._api.delete(self._one)
        else:
            self._api.merge_patch(self._one, {"spec": {"predictor": {"canaryTrafficPercent": 0}}})

    def _lacking(self, found: Mapping[str, Any]) -> str:
        """What the staged release still waits for, empty once it is ready."""
        status = found.get("status", {})
        if status.get("observedGeneration", 0) < found.get("metadata", {}).get("generation", 0):
            return "KServe has not seen the change yet"
        predictor = _predictor(found)
        created, ready = (predictor.get(f"latest{word}Revision", "") for word in ("Created", "Ready"))
        if not created or created == self._revision_before:
            return "KServe has made no new revision yet"
        failing = [c for c in status.get("conditions", []) if c.get("status") == "False"]
        if created != ready or failing:
            said = "; ".join(f"{c['type']}: {c.get('reason', '')} {c.get('message', '')}".strip() for c in failing)
            return said or f"revision {created} is starting"
        is_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", []))
        return "" if is_ready else f"revision {created} has no route yet"

    def _address(self, found: Mapping[str, Any]) -> str:
        """Where the newest revision alone answers: inside the cluster by its local name, from outside by its tag."""
        tagged = [t["url"] for t in _predictor(found).get("traffic", []) if t.get("tag") == "latest" and t.get("url")]
        if tagged and not self._config.kubernetes_api:
            return f"http://latest-{self._config.service}-predictor.{self._api.namespace}.svc.cluster.local"
        return str(tagged[0] if tagged else found["status"]["url"]).rstrip("/")


def inference_service(releases: str, config: DeployConfig, release_id: str | None) -> dict[str, Any]:
    """The InferenceService as it is made where there is none; deploy/kustomize/base holds the same, to edit.

    release_id: None follows the pointer `current`.
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
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - an empty volume of the pod's own
    }
    annotations = {TAGS: "true", "serving.kserve.io/deploymentMode": "Serverless"}
    made = {
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
    return made


def _probe(what: str, period: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{what}", "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": 6,
    }


def _pinned(containers: list[dict[str, Any]], release_id: str) -> list[dict[str, Any]]:
    """The containers with the release named in the first one's environment; all else as it was."""
    first, *others = containers
    env = [one for one in first.get("env", []) if one["name"] != PINNED]
    return [{**first, "env": [*env, {"name": PINNED, "value": release_id}]}, *others]


def _check_mode(found: Mapping[str, Any], service: str) -> None:
    mode = found.get("status", {}).get("deploymentMode", "")
    if mode in ("RawDeployment", "Standard"):
        raise InputError(
            f"InferenceService {service} is deployed in the mode {mode}, in which KServe splits no traffic. Annotate "
            "it with serving.kserve.io/deploymentMode: Serverless (Knative), or deploy by --set deployer=local."
        )


def _annotations(found: Mapping[str, Any]) -> Mapping[str, str]:
    return found["metadata"].get("annotations") or {}


def _predictor(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the status says of the predictor."""
    return found.get("status", {}).get("components", {}).get("predictor", {})
