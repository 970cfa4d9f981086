"""Registration of a promoted release in Kubeflow's Model Registry, through its REST API."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from two_tower.errors import InputError
from two_tower.http_json import call
from two_tower.releases.manifest import Manifest

ROOT = "/api/model_registry/v1alpha3"


def register(address: str, name: str, uri: str, manifest: Manifest) -> None:
    """Register a release as a version of a model, with the address of its files and its metrics.

    An existing model, version or artifact is left unchanged.

    Args:
        address: Address of the registry.
        name: Name of the registered model.
        uri: Address of the release's folder.
        manifest: Manifest of the release.

    Raises:
        InputError: The registry cannot be reached, or refuses the call.
    """
    root = address.rstrip("/") + ROOT
    model = _find(root, f"registered_model?name={quote(name)}") or _create(root, "registered_models", {"name": name})
    parent = f"parentResourceId={model['id']}"
    version = _find(root, f"model_version?name={quote(manifest.id)}&{parent}") or _create(
        root, "model_versions", _version(model["id"], manifest)
    )
    if not _find(root, f"model_artifact?name={quote(manifest.id)}&parentResourceId={version['id']}"):
        artifact = {
            "artifactType": "model-artifact",
            "name": manifest.id,
            "uri": uri,
            "modelFormatName": "onnx",
            "modelFormatVersion": "1",
        }
        _create(root, f"model_versions/{version['id']}/artifacts", artifact)


def _version(model: str, manifest: Manifest) -> dict[str, Any]:
    properties = {f"two_tower_{name}": _double(value) for name, value in manifest.metrics["two_tower"].items()}
    for name, value in (("dataset", manifest.dataset), ("embedding_space", manifest.embedding_space)):
        properties[name] = {"metadataType": "MetadataStringValue", "string_value": value}
    return {"registeredModelId": model, "name": manifest.id, "customProperties": properties}


def _double(value: float) -> dict[str, Any]:
    return {"metadataType": "MetadataDoubleValue", "double_value": value}


def _find(root: str, path: str) -> dict[str, Any] | None:
    return _call("GET", f"{root}/{path}")


def _create(root: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    created = _call("POST", f"{root}/{path}", body)
    if created is None:
        raise InputError(
            f"model_registry: {root}/{path} does not exist. Check that the address is a Model Registry with the API "
            "v1alpha3."
        )
    return created


def _call(method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The object in the registry's response; None for status 404."""
    try:
        response = call(method, url, body)
    except OSError as error:
        raise InputError(
            f"model_registry: no answer from {url}: {error}. The release serves. Correct --set model_registry=URL, "
            "and run the step again to register it."
        ) from error
    if response.status == 404:
        return None
    if response.status >= 300:
        raise InputError(
            f"model_registry: {method} {url} was refused with {response.status}: {str(response.body)[:200]}. Correct "
            "the cause, and run the step again."
        )
    return dict(response.body)
