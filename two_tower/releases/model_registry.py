"""A promoted release in Kubeflow's Model Registry, by its REST interface."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from two_tower.errors import InputError
from two_tower.http_json import call
from two_tower.releases.manifest import Manifest

ROOT = "/api/model_registry/v1alpha3"


def register(address: str, name: str, uri: str, manifest: Manifest) -> None:
    """Name a release as a version of the registered model `name`, with the address of its files and its metrics.

    What is registered already stays as it is. Raises InputError where the registry cannot be reached or refuses.
    """
    root = address.rstrip("/") + ROOT
    model = _found(root, f"registered_model?name={quote(name)}") or _made(root, "registered_models", {"name": name})
    parent = f"parentResourceId={model['id']}"
    version = _found(root, f"model_version?name={quote(manifest.id)}&{parent}") or _made(
        root, "model_versions", _version(model["id"], manifest)
    )
    if not _found(root, f"model_artifact?name={quote(manifest.id)}&parentResourceId={version['id']}"):
        artifact = {
            "artifactType": "model-artifact",
            "name": manifest.id,
            "uri": uri,
            "modelFormatName": "onnx",
            "modelFormatVersion": "1",
        }
        _made(root, f"model_versions/{version['id']}/artifacts", artifact)


def _version(model: str, manifest: Manifest) -> dict[str, Any]:
    properties = {f"two_tower_{name}": _double(value) for name, value in manifest.metrics["two_tower"].items()}
    for name, value in (("dataset", manifest.dataset), ("embedding_space", manifest.embedding_space)):
        properties[name] = {"metadataType": "MetadataStringValue", "string_value": value}
    return {"registeredModelId": model, "name": manifest.id, "customProperties": properties}


def _double(value: float) -> dict[str, Any]:
    return {"metadataType": "MetadataDoubleValue", "double_value": value}


def _found(root: str, path: str) -> dict[str, Any] | None:
    return _ask("GET", f"{root}/{path}")


def _made(root: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    made = _ask("POST", f"{root}/{path}", body)
    if made is None:
        raise InputError(f"model_registry: {root}/{path} is not there. Is this a Model Registry of API v1alpha3?")
    return made


def _ask(method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """The object that the registry answers with, None where there is none."""
    try:
        reply = call(method, url, body)
    except OSError as error:
        raise InputError(
            f"model_registry: no answer from {url}: {error}. The release serves; correct --set model_registry=URL and "
            "run the step again to register it."
        ) from error
    if reply.status == 404:
        return None
    if reply.status >= 300:
        raise InputError(f"model_registry: {method} {url} was refused with {reply.status}: {str(reply.body)[:200]}")
    return dict(reply.body)
