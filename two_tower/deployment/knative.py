"""Deployment to a KServe InferenceService in Knative mode: a revision for each release, and a share of the traffic.

KServe creates a new revision of the service when its containers or its annotations change, and splits the traffic
between the new revision and the last one that received all of it. So the id of the release is in the container's
environment, and a promotion changes the share only. Before a first revision has received all of the traffic, KServe
ignores the share. So the first release is staged in an InferenceService of its own.
"""

from collections.abc import Mapping
from typing import Any

from two_tower.config import DeployConfig
from two_tower.deployment import deployment_mode, manifests, readiness
from two_tower.deployment.kubernetes import Kubernetes
from two_tower.deployment.manifests import TAGS
from two_tower.errors import InputError
from two_tower.releases import release

_OLD_ANNOTATIONS = ("two-tower/promoted", "two-tower/created")  # of version 0.1


class Knative:
    """Deploys releases to an InferenceService (see `deploy.Deployer`).

    Args:
        releases: URL of the releases.
        config: Settings of the deployment.
        api: Client of the cluster's API server.
    """

    def __init__(self, releases: str, config: DeployConfig, api: Kubernetes) -> None:
        self._releases, self._config, self._api = releases, config, api
        self._collection = api.path("serving.kserve.io/v1beta1", "inferenceservices")
        self._first = f"{config.service}-first"  # InferenceService in which the first release is staged
        self._staged = config.service  # InferenceService in which the release is staged
        self._promoting: dict[str, Any] | None = None  # the users' InferenceService before the first promotion
        self._revision_before: str | None = None  # set while a new revision has to appear

    def serving(self) -> str | None:
        """Return the promoted release; None if the pointer names another one, since a promotion was interrupted."""
        service = self._get(self._config.service)
        if not _rolled_out(service):
            return None
        predictor, pointer = service["spec"]["predictor"], release.current(self._releases)
        pinned = manifests.pinned_release(predictor)
        if predictor.get("canaryTrafficPercent") is None:
            return pointer if pinned in (None, pointer) else None
        return pointer if pinned != pointer else None

    def stage(self, release_id: str) -> None:
        release.verify(self._releases, release_id)
        service = self._get(self._config.service)
        first = not _rolled_out(service)
        self._staged = self._first if first else self._config.service
        self._write(self._staged, service, release_id, None if first else self._config.canary_percent)

    def wait(self) -> str:
        self._wait(self._staged)
        return self._address(self._get(self._staged))

    def promote(self, release_id: str) -> None:
        if self._staged != self._first:
            self._share(None)
        else:
            self._promoting = self._get(self._config.service)
            self._write(self._config.service, self._promoting, release_id, None)
            self._wait(self._config.service)
            deployment_mode.delete(self._api, self._path(self._first))
        release.activate(self._releases, release_id)

    def roll_back(self) -> None:
        if self._staged != self._first:
            self._share(0)
            return
        deployment_mode.delete(self._api, self._path(self._first))
        if self._promoting == {}:
            deployment_mode.delete(self._api, self._path(self._config.service))
        elif self._promoting:
            containers = self._promoting["spec"]["predictor"]["containers"]
            self._api.merge_patch(self._path(self._config.service), {"spec": {"predictor": {"containers": containers}}})

    def restore_previous(self) -> str:
        status = _predictor(self._get(self._config.service))
        rolled_out = status.get("latestRolledoutRevision", "")
        if rolled_out == status.get("latestCreatedRevision", ""):
            rolled_out = status.get("previousRolledoutRevision", "")
        revisions = self._api.path("serving.knative.dev/v1", "revisions")
        revision = self._api.get(f"{revisions}/{rolled_out}") if rolled_out else None
        release_id = manifests.pinned_release(revision["spec"]) if revision else None
        if release_id is None:
            raise InputError(
                f"InferenceService {self._config.service} has no revision with an earlier release. Deploy one: "
                "`two-tower releases activate ID` with the same settings."
            )
        release.verify(self._releases, release_id)
        self._share(0)
        readiness.wait(
            lambda: _without_traffic(self._get(self._config.service), rolled_out),
            self._config.ready_timeout,
            f"Revision {rolled_out}",
            self._next_step(self._config.service),
        )
        release.activate(self._releases, release_id)
        return release_id

    def _path(self, name: str) -> str:
        return f"{self._collection}/{name}"

    def _get(self, name: str) -> dict[str, Any]:
        """The InferenceService; empty if it does not exist."""
        return self._api.get(self._path(name)) or {}

    def _write(self, name: str, template: Mapping[str, Any], release_id: str, share: int | None) -> None:
        """Create or change an InferenceService: the containers of the template with the release, and its share."""
        existing = deployment_mode.existing(self._api, self._path(name), self._config.ready_timeout)
        new = manifests.inference_service(self._releases, self._config, release_id)
        predictor = (template or new)["spec"]["predictor"]
        if existing is None:
            new["metadata"] |= {"name": name, "namespace": self._api.namespace}
            new["spec"]["predictor"] = manifests.pin(predictor, release_id)
            self._api.create(self._collection, new)
            self._revision_before = ""
            return
        containers = manifests.pin(predictor, release_id)["containers"]
        if containers != existing["spec"]["predictor"]["containers"]:
            self._revision_before = _predictor(existing).get("latestCreatedRevision", "")
        annotations = {TAGS: "true", **dict.fromkeys(_OLD_ANNOTATIONS)}
        mode = deployment_mode.aligned(existing).get("metadata", {}).get("annotations", {})
        self._api.merge_patch(
            self._path(name),
            {
                "metadata": {"annotations": {**annotations, **mode}},
                "spec": {"predictor": {"canaryTrafficPercent": share, "containers": containers}},
            },
        )

    def _share(self, percent: int | None) -> None:
        self._api.merge_patch(
            self._path(self._config.service), {"spec": {"predictor": {"canaryTrafficPercent": percent}}}
        )

    def _wait(self, name: str) -> None:
        readiness.wait(
            lambda: self._not_ready(self._get(name)),
            self._config.ready_timeout,
            f"InferenceService {name}",
            self._next_step(name),
        )

    def _next_step(self, name: str) -> str:
        return f"See `kubectl -n {self._api.namespace} describe inferenceservice {name}` and its pods' events."

    def _not_ready(self, service: Mapping[str, Any]) -> str:
        """The reason why the newest revision is not ready; empty if it is."""
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
            return f"http://latest-{service['metadata']['name']}-predictor.{self._api.namespace}.svc.cluster.local"
        return str(tagged[0] if tagged else service["status"]["url"]).rstrip("/")


def _rolled_out(service: Mapping[str, Any]) -> bool:
    """Whether a revision has received all of the traffic."""
    return bool(_predictor(service).get("latestRolledoutRevision"))


def _without_traffic(service: Mapping[str, Any], revision: str) -> str:
    """The reason why a revision does not receive all of the traffic; empty if it does."""
    traffic = _predictor(service).get("traffic", [])
    percent = sum(target.get("percent") or 0 for target in traffic if target.get("revisionName") == revision)
    return "" if percent == 100 else f"{revision} receives {percent} % of the traffic"


def _predictor(service: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of the predictor; empty if there is none."""
    predictor: Mapping[str, Any] = service.get("status", {}).get("components", {}).get("predictor", {})
    return predictor
