"""Validate Kubernetes objects with the schemas that an API server uses.

`crds/httproute.json` is the schema of the Gateway API's HTTPRoute (v1 of 1.6.1, `config/crd/standard`), without
descriptions and without rules in CEL.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

KUBERNETES = "1.32"
SCHEMAS = Path(__file__).parents[2] / "shared" / "schemas"
INFERENCE_SERVICE = "serving.kserve.io_inferenceservices.yaml"
HTTP_ROUTE = Path(__file__).parent / "crds" / "httproute.json"
TRAIN_JOB = "trainer.kubeflow.org_trainjobs.yaml"


def check(manifest: dict[str, Any]) -> None:
    """Raise if Kubernetes would reject this object of a built-in kind."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def check_inference_service(manifest: dict[str, Any]) -> None:
    """Raise if KServe would reject this InferenceService; skip the test if its schema is not available."""
    _check_custom(manifest, INFERENCE_SERVICE, "kserve/kserve, config/crd/full")


def check_http_route(manifest: dict[str, Any]) -> None:
    """Raise if the Gateway API would reject this HTTPRoute."""
    jsonschema.Draft7Validator(_strict(json.loads(HTTP_ROUTE.read_text()))).validate(manifest)


def check_train_job(manifest: dict[str, Any]) -> None:
    """Raise if Kubeflow Trainer would reject this TrainJob; skip the test if its schema is not available."""
    _check_custom(manifest, TRAIN_JOB, "kubeflow/trainer, manifests/base/crds")


def _check_custom(manifest: dict[str, Any], file: str, home: str) -> None:
    path = Path(os.environ.get("TWO_TOWER_SCHEMAS", SCHEMAS)) / file
    if not path.is_file():
        pytest.skip(f"{path} does not exist; download it from {home}")
    version = manifest["apiVersion"].rpartition("/")[2]
    jsonschema.Draft7Validator(_definition(path, version)).validate(manifest)


@cache
def _definition(path: Path, version: str) -> dict[str, Any]:
    definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return _strict(next(v for v in definition["spec"]["versions"] if v["name"] == version)["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """Forbid unknown fields: an API server drops them silently, which hides typing errors."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: _strict(value) for name, value in schema.items()}
    if "x-kubernetes-int-or-string" in schema:
        return {"type": ["integer", "string"]}
    if isinstance(schema.get("properties"), dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        strict.setdefault("additionalProperties", False)
    return strict
