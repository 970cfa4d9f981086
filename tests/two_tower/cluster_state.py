"""The objects of the stand-in cluster, and what their controllers make of them, one pass at each request.

`kserve_controller` plays KServe 0.15 to 0.20 and Knative, `deployment_controller` plays Kubernetes' Deployments; each
names its source. The weights of an HTTPRoute are stored, and no Gateway follows them.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.two_tower.deployment_controller import Rollout
from tests.two_tower.kserve_controller import (
    LOOKS,
    SCALING,
    Installation,
    Knative,
    RefusedError,
    conditions,
)
from two_tower.recommender.errors import RequestError
from two_tower.recommender.recommender import load_release
from two_tower.releases import release

TERMINATING = 24  # requests until the finalizer of a deleted InferenceService is removed


@dataclass
class Cluster:
    """never: releases whose pods do not start. answers: faulty behaviour by release. log: received calls.

    releases: folder or URL of the releases that the pods read. denied: verb and collection that RBAC refuses.
    """

    kserve: Installation = field(default_factory=Installation)
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    knative: dict[str, Knative] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    never: set[str] = field(default_factory=set)
    answers: dict[str, str] = field(default_factory=dict)
    log: list[tuple[str, str, Any]] = field(default_factory=list)
    failing: Counter[str] = field(default_factory=Counter)  # method → number of calls that first get a 503
    requests: Counter[str] = field(default_factory=Counter)  # number of requests by the release that responded
    terminating: Counter[str] = field(default_factory=Counter)
    templates: dict[str, tuple[Any, int]] = field(default_factory=dict)  # in Standard mode, with their age in passes
    lost: int = 0  # number of creations whose response gets lost
    address: str = ""
    releases: str = ""

    def changes(self) -> list[str]:
        return [method for method, path, _ in self.log if method != "GET" and "dryRun" not in path]

    def put(self, path: str, new: dict[str, Any]) -> dict[str, Any]:
        """Admit and store an object."""
        old = self.objects.get(path)
        if "/inferenceservices/" in path:
            self.kserve.admit(new, old)
        new["metadata"]["generation"] = old["metadata"]["generation"] + (old["spec"] != new["spec"]) if old else 1
        self.objects[path] = new | ({"status": old["status"]} if old and "status" in old else {})
        return self.objects[path]

    def delete(self, path: str) -> dict[str, Any]:
        """Delete an object; an InferenceService stays until its controller has removed the finalizer."""
        stored = self.objects[path]
        if "/inferenceservices/" in path:
            stored["metadata"]["deletionTimestamp"] = "2026-11-28T07:00:00Z"
            return stored
        self.rollouts.pop(path, None)
        return self.objects.pop(path)

    def finalize(self, path: str, service: dict[str, Any]) -> None:
        """Remove the finalizer of a deleted InferenceService, if the webhook does not refuse the change."""
        self.terminating[path] += 1
        if self.terminating[path] < TERMINATING:
            return
        try:
            self.kserve.admit(json.loads(json.dumps(service)), service)
        except RefusedError:
            return
        del self.terminating[path]
        self.knative.pop(service["metadata"]["name"], None)
        for one in (path, deployment_of(path)):
            self.objects.pop(one, None)
            self.rollouts.pop(one, None)

    def settle(self) -> None:
        """As many passes as the controllers need."""
        for _ in range(TERMINATING):
            self.reconcile()

    def reconcile(self) -> None:
        """One pass of all controllers."""
        for path, stored in list(self.objects.items()):
            if "/inferenceservices/" in path and "deletionTimestamp" in stored["metadata"]:
                self.finalize(path, stored)
            elif "/inferenceservices/" in path:
                self.reconcile_service(path, stored)
        for path, stored in self.objects.items():
            if "/deployments/" in path:
                self.rollouts.setdefault(path, Rollout()).reconcile(stored, lambda pod: self.starts(pod))

    def reconcile_service(self, path: str, service: dict[str, Any]) -> None:
        name, mode = service["metadata"]["name"], self.kserve.mode(service)
        status: dict[str, Any] = {"observedGeneration": 1, "deploymentMode": mode, "components": {"predictor": {}}}
        if mode in ("Standard", "RawDeployment"):
            self.reconcile_standard(path, service)
            available = self.rollouts.get(deployment_of(path), Rollout()).serving
            status["conditions"] = conditions("True" if available else "False")
        elif self.kserve.knative:
            knative = self.knative.setdefault(name, Knative(name, self.address))
            predictor = knative.reconcile(service, lambda one: one["looks"] > LOOKS and self.starts(one["spec"]))
            newest = pinned(knative.revisions[-1]["spec"])
            ready = predictor.get("latestReadyRevision") == predictor["latestCreatedRevision"]
            failed = ("False", "RevisionFailed", "ImagePullBackOff") if newest in self.never else ("Unknown",)
            status["conditions"] = conditions(*(("True",) if ready else failed))
            status["components"] = {"predictor": predictor}
            status["url"] = f"{self.address}/services/{name}"
        service["status"] = status

    def reconcile_standard(self, path: str, service: dict[str, Any]) -> None:
        """KServe's Deployment, with the labels of the InferenceService in the template, and one more variable."""
        name, labels = service["metadata"]["name"], service["metadata"].get("labels", {})
        pod = {key: value for key, value in service["spec"]["predictor"].items() if key not in SCALING}
        first, *others = pod["containers"]
        own = {"name": "INFERENCE_SERVICE_NAME", "value": name}
        pod["containers"] = [{**first, "env": [*first.get("env", []), own]}, *others]
        template = {"metadata": {"labels": {**labels, "app": f"isvc.{name}-predictor"}}, "spec": pod}
        before, looks = self.templates.get(path, (None, 0))
        self.templates[path] = (template, looks + 1 if before == template else 0)
        if self.templates[path][1] < LOOKS:
            return  # the Deployment is changed some passes later
        replicas = service["spec"]["predictor"].get("minReplicas", 1)
        manifest = {"metadata": {"name": f"{name}-predictor"}, "spec": {"replicas": replicas, "template": template}}
        self.put(deployment_of(path), manifest)

    def starts(self, pod: dict[str, Any]) -> bool:
        """Whether pods become ready: those that follow the pointer need a release."""
        release_id = self.release_of(pod)
        return release_id is not None and release_id not in self.never

    def release_of(self, pod: dict[str, Any]) -> str | None:
        return pinned(pod) or release.current(self.releases)

    def shares(self) -> dict[str, int]:
        """Percentage of the traffic by release at the address of the users, when the controllers have finished."""
        self.settle()
        if "two-tower" in self.knative:
            knative = self.knative["two-tower"]
            pods = {self.release_of(knative.pod(name)): percent for name, percent in knative.percents().items()}
            return {one: percent for one, percent in pods.items() if one and percent}
        pod = self.selected("two-tower")
        return {self.release_of(pod) or "": 100} if pod else {}

    def weights(self) -> dict[str, int]:
        """Percentage of the HTTPRoute's traffic by release; empty for a backend without pods."""
        (route,) = [stored for path, stored in self.objects.items() if "/httproutes/" in path]
        backends = route["spec"]["rules"][0]["backendRefs"]
        pods = [(self.selected(one["name"]), one.get("weight", 100)) for one in backends]
        return {self.release_of(pod) or "": weight for pod, weight in pods if pod and weight}

    def selected(self, service: str) -> dict[str, Any] | None:
        """The pods that a Service selects and that are ready."""
        found = [stored for path, stored in self.objects.items() if path.endswith(f"/services/{service}")]
        for rollout in self.rollouts.values() if found else ():
            template = rollout.serving
            if template and found[0]["spec"]["selector"].items() <= template["metadata"]["labels"].items():
                return template["spec"]
        return None

    def pod_at(self, path: str) -> dict[str, Any] | None:
        """The pods that respond at an address: a Service's proxy, or the URL of a revision or an InferenceService."""
        parts = path.strip("/").split("/")
        if parts[0] == "revisions":
            return self.knative[parts[1].rpartition("-predictor-")[0]].pod(parts[1])
        if parts[0] == "services":
            knative = self.knative[parts[1]]
            return knative.pod(max(knative.percents(), key=lambda name: knative.percents()[name]))
        return self.selected(parts[parts.index("services") + 1].removesuffix(":80"))

    def recommend(self, path: str, request: dict[str, Any]) -> tuple[int, Any]:
        """Respond as the pods at the address."""
        pod = self.pod_at(path)
        if pod is None:
            return 503, {"message": "no endpoints available"}
        served = self.release_of(pod) or ""
        self.requests[served] += 1
        manner = self.answers.get(served, "")
        if manner == "fails":
            return 500, {"error": {"code": "fault", "message": "broken", "hint": ""}}
        options = {name: value for name, value in request.items() if name not in ("user_id", "features")}
        try:
            body = load_release(self.releases, served).recommend(
                request.get("user_id"), features=request.get("features"), **options
            )
        except RequestError as error:
            return error.status, error.body()
        response = body.to_dict()
        if manner == "old":
            response["release"] = "another"
        if manner == "no store":
            response["fallback"] = "store"
        if manner == "wrong items":
            response["items"] = response["items"][::-1]
        return 200, response

    def read(self, path: str) -> dict[str, Any] | None:
        if path == "/apis/serving.knative.dev/v1":
            return {"kind": "APIResourceList"} if self.kserve.knative else None
        if "/revisions/" in path:
            name = path.rpartition("/")[2]
            knative = self.knative.get(name.rpartition("-predictor-")[0])
            return {"metadata": {"name": name}, "spec": knative.pod(name)} if knative else None
        self.reconcile()
        return self.objects.get(path)


def deployment_of(path: str) -> str:
    """Path of the Deployment that KServe makes of an InferenceService."""
    return (
        path.replace("serving.kserve.io/v1beta1", "apps/v1").replace("inferenceservices", "deployments") + "-predictor"
    )


def pinned(pod: dict[str, Any]) -> str:
    return next((e["value"] for e in pod["containers"][0].get("env", []) if e["name"] == "TWO_TOWER_RELEASE"), "")
