"""Kubernetes objects checked against the schemas that an API server would check them with."""

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


def check(manifest: dict[str, Any]) -> None:
    """Raise where Kubernetes would refuse an object of its own kinds."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def check_inference_service(manifest: dict[str, Any]) -> None:
    """Raise where KServe's resource definition would refuse an InferenceService; skip where it is not at hand."""
    jsonschema.Draft7Validator(_inference_service()).validate(manifest)


@cache
def _inference_service() -> dict[str, Any]:
    path = Path(os.environ.get("TWO_TOWER_SCHEMAS", SCHEMAS)) / INFERENCE_SERVICE
    if not path.is_file():
        pytest.skip(f"no {INFERENCE_SERVICE} in {path.parent}; get it from kserve/kserve, config/crd/full")
    definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    version = next(v for v in definition["spec"]["versions"] if v["name"] == "v1beta1")
    return _strict(version["schema"]["openAPIV3Schema"])


def _strict(schema: Any) -> Any:
    """With unknown fields refused: an API server drops them in silence, which is how a typing error goes unseen."""
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
