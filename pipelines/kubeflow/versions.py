"""Versions of Kubeflow Pipelines, and what each of them can run."""

import re
from collections.abc import Mapping
from typing import Any

from pipelines.kubeflow.compiled import Plan
from two_tower.errors import InputError

COLLECTED = (2, 16)  # first version that collects the outputs of shards (kubeflow/pipelines#13239)
_VERSION = re.compile(r"v?(\d+)\.(\d+)")


def version_of(text: str) -> tuple[int, int] | None:
    """Major and minor number of a version such as 2.17.0 or v0.20.0; None if there is none."""
    match = _VERSION.match(text)
    return (int(match[1]), int(match[2])) if match else None


def pipelines_version(health: Mapping[str, Any]) -> str:
    """Version of the API in the response of its health check, or in that of the user interface before it."""
    return str(health.get("tag_name") or health.get("apiServerTagName") or "unknown")


def check_version(health: Mapping[str, Any], plan: Plan) -> None:
    """Check that the API can run a pipeline; an unknown version passes.

    Raises:
        InputError: The pipeline embeds the catalogue in shards, which fails before 2.16.
    """
    version = pipelines_version(health)
    number = version_of(version)
    if number is None or number >= COLLECTED or not plan.has_shards:
        return
    advice = "set shards=1, or upgrade" if plan.pipeline == "training" else "upgrade"
    raise InputError(
        f"Kubeflow Pipelines {version} cannot collect the outputs of shards: the run would fail with `cannot find "
        f"producer task`. To run {plan.pipeline}, {advice} to Kubeflow Pipelines 2.16 or later."
    )
