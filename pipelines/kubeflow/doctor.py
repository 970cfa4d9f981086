"""What a cluster has, what of the pipelines works on it, and the setting for what does not (`two-tower doctor`)."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from components import DATA_IMAGE, TRAIN_IMAGE
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.resources import image_with_tag
from pipelines.kubeflow.submit import Endpoint
from pipelines.kubeflow.versions import COLLECTED, pipelines_version, version_of
from two_tower.errors import InputError
from two_tower.http_json import call

State = Literal["works", "absent", "problem", "unknown"]
ACCEPT = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, */*"
REGISTRY_TIMEOUT = 10.0  # seconds


@dataclass(frozen=True)
class Finding:
    """Answer to one question.

    Attributes:
        topic: What was asked about.
        state: `works`; `absent`: not installed and not needed by these settings; `problem`: these settings need it;
            `unknown`: it could not be asked.
        detail: What was found.
        setting: What to do or to set. Empty if there is nothing to do.
    """

    topic: str
    state: State
    detail: str
    setting: str = ""


def of_pipelines(host: str, token: str, namespace: str, plan: Plan) -> tuple[Endpoint | None, list[Finding]]:
    """Ask the Pipelines API for its version, and whether the caller may use it.

    Args:
        host: Address; empty for the one inside the cluster.
        token: Bearer token.
        namespace: Namespace of the user.
        plan: Pipeline and settings that are to be submitted.

    Returns:
        The API, None if there is none, and the findings.
    """
    try:
        endpoint = Endpoint.of(host, token, namespace)
    except InputError as error:
        state: State = "problem" if host else "unknown"
        return None, [Finding("pipelines", state, str(error), "--host URL, TWO_TOWER_TOKEN" if not host else "")]
    return endpoint, [_version(endpoint, plan), _experiments(endpoint)]


def _version(endpoint: Endpoint, plan: Plan) -> Finding:
    health = endpoint.health()
    version = pipelines_version(health)
    number = version_of(version)
    mode = "a namespace for each user" if health.get("multi_user") else "one namespace for all"
    detail = f"version {version}, {mode}"
    if number is None:
        return Finding("pipelines", "works", f"{detail}; shards > 1 needs 2.16")
    if number < COLLECTED and plan.has_shards:
        return Finding("pipelines", "problem", f"{detail}; shards > 1 fails before 2.16", "--set shards=1")
    if number < (2, 0):
        return Finding("pipelines", "problem", f"{detail}; the pipelines need version 2", "install Pipelines 2.x")
    if number >= (2, 17) and plan.cluster.retries:
        detail += "; by default only lost and evicted pods are retried, not steps that exit with an error"
    return Finding("pipelines", "works", detail)


def _experiments(endpoint: Endpoint) -> Finding:
    query = f"?page_size=1&namespace={endpoint.namespace}" if endpoint.namespace else "?page_size=1"
    try:
        endpoint.request("GET", f"/experiments{query}")
    except InputError as error:
        return Finding("submit", "problem", str(error), "--namespace NAMESPACE, TWO_TOWER_TOKEN")
    return Finding("submit", "works", "the API lists the experiments of the caller")


def of_storage(releases: str, list_releases: Callable[[str], list[object]]) -> Finding:
    """Ask whether this machine can list the releases; the pods may have other credentials."""
    try:
        count = len(list_releases(releases))
    except ImportError as error:
        return Finding("storage", "unknown", str(error), "pip install the package of the file system")
    except (InputError, OSError) as error:
        return Finding("storage", "problem", str(error), "address, region and credentials: --set secrets, environment")
    return Finding("storage", "works", f"{releases} is reachable from this machine and has {count} releases")


def of_images(plan: Plan, on_nodes: frozenset[str] | None) -> Iterator[Finding]:
    """Ask the nodes and the registry for the images of the steps.

    Args:
        plan: Settings that name the images.
        on_nodes: Names of images that nodes report; None if they cannot be asked.
    """
    config = plan.cluster
    images = {
        image_with_tag(DATA_IMAGE, config.image_tag, config),
        image_with_tag(TRAIN_IMAGE, config.train_image_tag or config.image_tag, config),
        plan.settings.deploy.serving_image,
    }
    for image in sorted(images):
        if any(name.endswith(f"/{image}") or name == image for name in on_nodes or ()):
            yield Finding("image", "works", f"{image} is on a node")
        else:
            yield _in_registry(image, has_secret=bool(config.image_pull_secret))


def _in_registry(image: str, *, has_secret: bool) -> Finding:
    """Ask a registry for the manifest of an image, without credentials.

    Source: OCI Distribution Specification 1.1, "Pulling manifests".
    """
    host, _, path = image.partition("/")
    if not path or not re.search(r"[.:]|^localhost$", host):
        return Finding(
            "image", "problem", f"{image} has no registry, and no node reports it", "--set image_prefix=REGISTRY/FOLDER"
        )
    name, _, tag = path.rpartition(":")
    scheme = "http" if host.partition(":")[0] in ("localhost", "127.0.0.1") else "https"
    try:
        url = f"{scheme}://{host}/v2/{name}/manifests/{tag}"
        status = call("HEAD", url, headers={"Accept": ACCEPT}, timeout=REGISTRY_TIMEOUT).status
    except (OSError, InputError) as error:
        return Finding("image", "unknown", f"no answer from {host} for {image}: {getattr(error, 'reason', error)}")
    if status == 200:
        return Finding("image", "works", f"{image} is in the registry, without credentials")
    if status == 404:
        return Finding("image", "problem", f"{image} is not in the registry", "make images, tag and push; image_tag")
    setting = "" if has_secret else "--set image_pull_secret=SECRET"
    return Finding("image", "unknown", f"{host} answers HTTP {status} for {image} without credentials", setting)
