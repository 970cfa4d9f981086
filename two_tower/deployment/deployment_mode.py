"""KServe's deployment modes: Knative, called Serverless up to 0.15, and Standard, called RawDeployment up to 0.15."""

from collections.abc import Mapping
from typing import Any

from two_tower.deployment import readiness
from two_tower.deployment.kubernetes import Kubernetes

MODE = "serving.kserve.io/deploymentMode"  # annotation
KNATIVE = ("Knative", "Serverless")
STANDARD = ("Standard", "RawDeployment")


def of_service(service: Mapping[str, Any]) -> str:
    """Return the mode of an InferenceService; empty if KServe has not reported it and no annotation sets it."""
    annotations = service["metadata"].get("annotations") or {}
    return str(service.get("status", {}).get("deploymentMode") or annotations.get(MODE, ""))


def of_cluster(api: Kubernetes, manifest: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Ask the cluster in which mode KServe would deploy a new InferenceService.

    KServe's webhook writes the default mode into a new object if it is not Knative, so a dry run shows it. A plain
    installation has Knative as the default, even if Knative is not installed.

    Args:
        api: Client of the cluster's API server.
        manifest: An InferenceService without an annotation of the mode.

    Returns:
        The mode, and the annotation that a new object needs for it.
    """
    metadata = manifest["metadata"]
    probe = {**manifest, "metadata": {**metadata, "name": f"{metadata['name']}-mode"}}  # a name that is not in use
    created = api.create(api.path("serving.kserve.io/v1beta1", "inferenceservices") + "?dryRun=All", probe)
    mode = of_service(created) or KNATIVE[0]
    if mode in KNATIVE and api.get("/apis/serving.knative.dev/v1") is None:
        return STANDARD[0], {MODE: STANDARD[1]}  # every version accepts the old name in a new object
    return mode, {}


def aligned(service: Mapping[str, Any]) -> dict[str, Any]:
    """Return the patch that gives the annotation the name of the mode that KServe reports.

    KServe 0.16 compares both as texts at every change, also when its controller removes the finalizer of a deleted
    object (kserve#5885): an object that was created with the old name could neither be changed nor deleted.
    """
    annotation = (service["metadata"].get("annotations") or {}).get(MODE)
    mode = service.get("status", {}).get("deploymentMode")
    return {"metadata": {"annotations": {MODE: mode}}} if annotation and mode and annotation != mode else {}


def existing(api: Kubernetes, path: str, timeout: float) -> dict[str, Any] | None:
    """Return an object that will not disappear; None if it does not exist.

    Args:
        api: Client of the cluster's API server.
        path: Path of the object.
        timeout: Seconds to wait for the end of its deletion.

    Raises:
        readiness.NotReadyError: The object is still being deleted.
    """

    def deleted() -> str:
        found = api.get(path)
        return "it is being deleted" if found and "deletionTimestamp" in found["metadata"] else ""

    name = path.rpartition("/")[2]
    readiness.wait(deleted, timeout, name, "Its finalizers name the controller that has to remove them.")
    return api.get(path)


def delete(api: Kubernetes, path: str) -> None:
    """Delete an InferenceService, or another object, if it exists."""
    service = api.get(path)
    if service is None:
        return
    if patch := aligned(service):
        api.merge_patch(path, patch)
    api.delete(path)
