"""Deployment to two slots, blue and green: one serves, and the next release is staged in the other.

A slot is a Deployment, or in KServe's Standard mode an InferenceService, with a Service of its own. The Service that
users call selects the pods of the slot that serves. If there is an HTTPRoute of the same name, it splits the traffic of
its Gateway between the slots during the smoke test.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from two_tower.config import DeployConfig
from two_tower.deployment import deployment_mode, manifests, readiness
from two_tower.deployment.kubernetes import Kubernetes
from two_tower.errors import InputError
from two_tower.releases import release


@dataclass(frozen=True)
class Workload:
    """The kind of object that runs the pods of a slot.

    Attributes:
        group: Group and version of its API.
        plural: Name of its collection in the API.
        pod: Path of the pod's fields in the object.
        deployment: Name of the Deployment of a slot, as a format of the slot's name.
        make: Makes the object from its name, the URL of the releases, the settings and the release.
    """

    group: str
    plural: str
    pod: tuple[str, ...]
    deployment: str
    make: Callable[[str, str, DeployConfig, str | None], dict[str, Any]]

    def pod_of(self, built: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of the pod of an object."""
        for name in self.pod:
            built = built[name]
        return dict(built)

    def set_pod(self, built: dict[str, Any], pod: Mapping[str, Any]) -> None:
        """Set the fields of the pod in an object, or in a patch."""
        for name in self.pod[:-1]:
            built = built.setdefault(name, {})
        built[self.pod[-1]] = pod


DEPLOYMENT = Workload("apps/v1", "deployments", ("spec", "template", "spec"), "{}", manifests.deployment)
STANDARD = Workload(
    "serving.kserve.io/v1beta1",
    "inferenceservices",
    ("spec", "predictor"),
    "{}-predictor",
    manifests.standard_inference_service,
)


class BlueGreen:
    """Deploys releases to two slots (see `deploy.Deployer`).

    Args:
        releases: URL of the releases.
        config: Settings of the deployment.
        api: Client of the cluster's API server.
        workload: The kind of object that runs the pods of a slot.
        annotations: Annotations of a new object of this kind.
    """

    def __init__(
        self,
        releases: str,
        config: DeployConfig,
        api: Kubernetes,
        workload: Workload,
        annotations: Mapping[str, str],
    ) -> None:
        self._releases, self._config, self._api, self._kind = releases, config, api, workload
        self._annotations = dict(annotations)
        self._slots = [f"{config.service}-blue", f"{config.service}-green"]
        self._services = api.path("v1", "services")
        self._workloads = api.path(workload.group, workload.plural)
        self._deployments = api.path("apps/v1", "deployments")
        self._staged = ""  # slot of the staged release
        self._before: dict[str, Any] | None = None  # the object of this slot before

    def serving(self) -> str | None:
        """Return the promoted release; None if the pointer names another one, since a promotion was interrupted."""
        live = self._live()
        if not live:
            return None
        pinned, pointer = self._pinned(live), release.current(self._releases)
        return pointer if pinned in (None, pointer) else None

    def stage(self, release_id: str) -> None:
        release.verify(self._releases, release_id)
        live = self._live()
        self._staged = self._other(live)
        self._route(live, share=0)
        path = f"{self._workloads}/{self._staged}"
        self._before = deployment_mode.existing(self._api, path, self._config.ready_timeout)
        self._write(self._get(live) if live else self._before, release_id)
        if self._api.get(f"{self._services}/{self._staged}") is None:
            self._api.create(self._services, manifests.service(self._staged, self._staged))

    def wait(self) -> str:
        name = self._kind.deployment.format(self._staged)
        readiness.wait(
            lambda: self._not_ready(self._staged),
            self._config.ready_timeout,
            f"Deployment {name}",
            f"See `kubectl -n {self._api.namespace} describe deployment {name}` and its pods' events.",
        )
        self._route(self._live(), share=self._config.canary_percent)
        return self._api.service_address(self._staged)

    def promote(self, release_id: str) -> None:
        self._switch(self._staged)
        release.activate(self._releases, release_id)

    def roll_back(self) -> None:
        if not self._staged:
            return
        self._route(self._live(), share=0)
        if self._before is None:
            deployment_mode.delete(self._api, f"{self._workloads}/{self._staged}")
            self._api.delete(f"{self._services}/{self._staged}")
        else:
            self._patch(self._before, self._kind.pod_of(self._before), {})

    def restore_previous(self) -> str:
        live = self._live()
        previous = self._other(live)
        release_id = self._pinned(previous) if live else None
        if release_id is None or release_id == self._pinned(live):
            raise InputError(
                f"{previous} does not run an earlier release. Deploy one: `two-tower releases activate ID` with the "
                "same settings."
            )
        if reason := self._not_ready(previous):
            raise InputError(
                f"{previous}, which runs release {release_id}, is not ready: {reason}. Correct that, or deploy the "
                f"release again: `two-tower releases activate {release_id}` with the same settings."
            )
        release.activate(
            self._releases, release_id
        )  # first: the next attempt of an interrupted one finds the same slot
        self._switch(previous)
        return release_id

    def _live(self) -> str:
        """The slot that serves: the one that the users' Service selects; empty if there is none."""
        users = self._api.get(f"{self._services}/{self._config.service}")
        slot = users["spec"].get("selector", {}).get(manifests.INSTANCE, "") if users else ""
        return slot if slot in self._slots and self._get(slot) else ""

    def _other(self, slot: str) -> str:
        blue, green = self._slots
        return green if slot == blue else blue

    def _get(self, slot: str) -> dict[str, Any] | None:
        return self._api.get(f"{self._workloads}/{slot}")

    def _pinned(self, slot: str) -> str | None:
        existing = self._get(slot)
        return manifests.pinned_release(self._kind.pod_of(existing)) if existing else None

    def _write(self, template: Mapping[str, Any] | None, release_id: str) -> None:
        """Pin the slot to the release. The rest of its pod and the number of pods are those of the template."""
        new = self._kind.make(self._staged, self._releases, self._config, release_id)
        source = template or new
        pod = manifests.pin(self._kind.pod_of(source), release_id)
        replicas = {"replicas": source["spec"]["replicas"]} if "replicas" in source["spec"] else {}
        if self._before is None:
            new["metadata"]["annotations"] = self._annotations
            self._kind.set_pod(new, pod)
            new["spec"].update(replicas)
            self._api.create(self._workloads, new)
        else:
            self._patch(self._before, pod, replicas)

    def _patch(self, existing: Mapping[str, Any], pod: Mapping[str, Any], others: Mapping[str, Any]) -> None:
        patch: dict[str, Any] = {**deployment_mode.aligned(existing), "spec": dict(others)}
        self._kind.set_pod(patch, pod)
        self._api.merge_patch(f"{self._workloads}/{existing['metadata']['name']}", patch)

    def _not_ready(self, slot: str) -> str:
        """The reason why the pods of a slot are not all ready with its release; empty if they are."""
        name = self._kind.deployment.format(slot)
        deployment = self._api.get(f"{self._deployments}/{name}")
        if deployment is None or manifests.pinned_release(deployment["spec"]["template"]["spec"]) != self._pinned(slot):
            return f"Deployment {name} does not have the release of {slot} yet"
        return readiness.rollout(deployment)

    def _switch(self, slot: str) -> None:
        """Send all requests to a slot."""
        path = f"{self._services}/{self._config.service}"
        users = self._api.get(path)
        if users is None:
            self._api.create(self._services, manifests.service(self._config.service, slot))
        else:
            others = dict.fromkeys(users["spec"].get("selector", {}))
            self._api.merge_patch(path, {"spec": {"selector": {**others, manifests.INSTANCE: slot}}})
        self._route(slot, share=0)

    def _route(self, live: str, share: int) -> None:
        """Send a percentage of the HTTPRoute's traffic to the other slot, or all of it to the users' Service."""
        path = f"{self._api.path('gateway.networking.k8s.io/v1', 'httproutes')}/{self._config.service}"
        route = self._api.get(path)
        if route is None:
            return
        backends = [{"name": self._config.service, "port": 80}]
        if live and share:
            weights = {live: 100 - share, self._other(live): share}
            backends = [{"name": slot, "port": 80, "weight": weight} for slot, weight in weights.items()]
        rules = [{**rule, "backendRefs": backends} for rule in route["spec"].get("rules") or [{}]]
        self._api.merge_patch(path, {"spec": {"rules": rules}})
