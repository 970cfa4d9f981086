"""A stand-in for KServe's webhooks and controller, and for Knative Serving under it.

It plays KServe 0.20.0, as it was run on kube-apiserver 1.36.2 (recordings in `recorded_kserve`), and the differences of
0.15.2, 0.16.0 and 0.17.1 as they are read in its source: `pkg/apis/serving/v1beta1/inference_service_defaults.go` and
`inference_service_validation.go` (names of the modes), `inference_service_status.go` (`PropagateStatus`),
`pkg/controller/v1beta1/inferenceservice/reconcilers/knative/ksvc_reconciler.go` (traffic). Of Knative Serving 1.23,
`pkg/apis/serving/fieldmask.go` was read (fields that it refuses). The time that pods take is that of a few requests.
"""

from dataclasses import dataclass, field
from typing import Any

MODE = "serving.kserve.io/deploymentMode"
TAGS = "serving.kserve.io/enable-tag-routing"
NEW_NAMES = {"Serverless": "Knative", "RawDeployment": "Standard"}
NOT_IN_TEMPLATE = "kubectl.kubernetes.io/last-applied-configuration"
# Of a pod and of a container, without feature flags.
KNATIVE_POD = {"serviceAccountName", "containers", "volumes", "imagePullSecrets", "automountServiceAccountToken"}
KNATIVE_CONTAINER = {
    *("name", "args", "command", "env", "envFrom", "image", "imagePullPolicy", "livenessProbe", "ports"),
    *("readinessProbe", "startupProbe", "resources", "securityContext", "volumeMounts", "workingDir"),
}
SCALING = {
    *("minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout", "canaryTrafficPercent"),
    *("containerConcurrency",),
}
LOOKS = 2  # requests for a new revision or Deployment until its pods are ready


class RefusedError(Exception):
    """An admission webhook denied the request."""


@dataclass
class Installation:
    """version: minor version of KServe. default: default mode of its ConfigMap. knative: whether it is installed."""

    version: int = 20
    default: str = "Knative"
    knative: bool = True

    def mode_name(self, mode: str) -> str:
        """The name that the version reports."""
        return mode if self.version < 16 else NEW_NAMES.get(mode, mode)

    def admit(self, new: dict[str, Any], old: dict[str, Any] | None) -> None:
        """The mutating and the validating webhook."""
        annotations = new["metadata"].setdefault("annotations", {})
        if self.version >= 17 and MODE in annotations:
            annotations[MODE] = NEW_NAMES.get(annotations[MODE], annotations[MODE])
        default = self.mode_name(self.default)
        if MODE not in annotations and default == ("Standard" if self.version >= 16 else "RawDeployment"):
            annotations[MODE] = default
        reported = (old or {}).get("status", {}).get("deploymentMode")
        deleting = self.version >= 17 and "deletionTimestamp" in new["metadata"]
        if reported and not deleting and annotations.get(MODE, reported) != reported:
            raise RefusedError(
                'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: update '
                f"rejected: deploymentMode cannot be changed from '{reported}' to '{annotations[MODE]}'"
            )

    def mode(self, service: dict[str, Any]) -> str:
        """The mode of `GetDeploymentMode`."""
        known = ("Serverless", "RawDeployment") if self.version < 16 else ("Knative", "Standard")
        annotated = self.mode_name(service["metadata"]["annotations"].get(MODE, ""))
        default = "Serverless" if self.version < 16 and self.default == "Knative" else self.default
        return service.get("status", {}).get("deploymentMode") or (annotated if annotated in known else default)


@dataclass
class Knative:
    """The Knative Service of one InferenceService.

    revisions: the pods and the number of looks at each. rolled_out, previous: KServe's `latestRolledoutRevision` and
    `previousRolledoutRevision`.
    """

    name: str
    domain: str
    templates: list[Any] = field(default_factory=list)
    revisions: list[dict[str, Any]] = field(default_factory=list)
    rolled_out: str = ""
    previous: str = ""
    traffic: list[dict[str, Any]] = field(default_factory=list)

    def revision_name(self, place: int) -> str:
        return f"{self.name}-predictor-{place + 1:05d}"

    def reconcile(self, service: dict[str, Any], is_ready: Any) -> dict[str, Any]:
        """One pass of KServe's and Knative's controllers; the status of the InferenceService."""
        annotations, predictor = service["metadata"]["annotations"], service["spec"]["predictor"]
        pod = {key: value for key, value in predictor.items() if key not in SCALING}
        refused = set(pod) - KNATIVE_POD | {key for one in pod["containers"] for key in set(one) - KNATIVE_CONTAINER}
        assert not refused, f"Knative: must not set the field(s): {refused}"
        shared = {key: value for key, value in annotations.items() if key != NOT_IN_TEMPLATE}
        scaling = {key: value for key, value in predictor.items() if key in SCALING - {"canaryTrafficPercent"}}
        if [shared, pod, scaling] != (self.templates[-1] if self.templates else None):
            self.templates.append([shared, pod, scaling])
            self.revisions.append({"spec": pod, "looks": 0})
        self.revisions[-1]["looks"] += 1
        names = [self.revision_name(place) for place in range(len(self.revisions))]
        ready = [name for name, one in zip(names, self.revisions, strict=True) if is_ready(one)]
        latest_ready = ready[-1] if ready else ""
        self.route(predictor.get("canaryTrafficPercent"), latest_ready, tagged=annotations.get(TAGS) == "true")
        self.propagate(names[-1], latest_ready)
        status = {"latestCreatedRevision": names[-1], "traffic": self.traffic if latest_ready else []}
        optional = {
            "latestReadyRevision": latest_ready,
            "latestRolledoutRevision": self.rolled_out,
            "previousRolledoutRevision": self.previous,
        }
        return status | {key: value for key, value in optional.items() if value}

    def route(self, share: int | None, latest_ready: str, *, tagged: bool) -> None:
        """The targets of `createKnativeService`, as Knative resolves them."""
        canary = share is not None and self.rolled_out
        percent = share if canary else 100
        latest = {"latestRevision": True, "percent": percent, "revisionName": latest_ready}
        self.traffic = [latest | ({"tag": "latest", "url": self.url(latest_ready, "latest")} if tagged else {})]
        if canary and percent < 100:
            rest = {"latestRevision": False, "percent": 100 - percent, "revisionName": self.rolled_out, "tag": "prev"}
            self.traffic.append(rest | {"url": self.url(self.rolled_out, "prev")})

    def propagate(self, created: str, ready: str) -> None:
        """`PropagateStatus`."""
        (latest,) = [one for one in self.traffic if one["latestRevision"]]
        if not ready:
            return
        if self.rolled_out != ready:
            if latest["percent"] == 100:
                self.previous, self.rolled_out = self.rolled_out, ready
        elif ready == created and latest["percent"] < 100:
            same = sum(one["percent"] for one in self.traffic if one["revisionName"] == ready)
            if same == 100 and self.previous:
                self.rolled_out = self.previous

    def url(self, revision: str, tag: str) -> str:
        return f"{self.domain}/revisions/{revision}/{tag}"

    def pod(self, revision: str) -> dict[str, Any]:
        return self.revisions[int(revision.rpartition("-")[2]) - 1]["spec"]

    def percents(self) -> dict[str, int]:
        """Percentage of the traffic by revision."""
        shares: dict[str, int] = {}
        for one in self.traffic:
            if one["revisionName"]:
                shares[one["revisionName"]] = shares.get(one["revisionName"], 0) + one["percent"]
        return shares


def conditions(ready: str, reason: str = "", message: str = "") -> list[dict[str, str]]:
    """The condition `Ready`, and those that are information: `Stopped` is always False."""
    told = {"reason": reason, "message": message} if reason else {}
    return [{"type": "Ready", "status": ready, **told}, {"type": "Stopped", "status": "False", "severity": "Info"}]
