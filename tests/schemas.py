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
TRAIN_JOB = "trainer.kubeflow.org_trainjobs.yaml"


def check(manifest: dict[str, Any]) -> None:
    """Raise where Kubernetes would refuse an object of its own kinds."""
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def check_inference_service(manifest: dict[str, Any]) -> None:
    """Raise where KServe's resource definition would refuse an InferenceService; skip where it is not at hand."""
    _check_custom(manifest, INFERENCE_SERVICE, "kserve/kserve, config/crd/full")


def check_train_job(manifest: dict[str, Any]) -> None:
    """Raise where Kubeflow Trainer's resource definition would refuse a TrainJob; skip where it is not at hand."""
    _check_custom(manifest, TRAIN_JOB, "kubeflow/trainer, manifests/base/crds")


def _check_custom(manifest: dict[str, Any], file: str, home: str) -> None:
    path = Path(os.environ.get("TWO_TOWER_SCHEMAS", SCHEMAS)) / file
    if not path.is_file():
        pytest.skip(f"no {file} in {path.parent}; get it from {home}")
    version = manifest["apiVersion"].rpartition("/")[2]
    jsonschema.Draft7Validator(_definition(path, version)).validate(manifest)


@cache
def _definition(path: Path, version: str) -> dict[str, Any]:
    definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
    return _strict(next(v for v in definition["spec"]["versions"] if v["name"] == version)["schema"]["openAPIV3Schema"])


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
