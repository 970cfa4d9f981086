"""The feature repository of a pipeline: its address becomes an artifact that every step can read."""

from kfp.dsl.pipeline_channel import PipelineArtifactChannel

from components.fetch_repository import fetch_repository
from components.fingerprint_repository import fingerprint_repository


def repository(address, fingerprint) -> PipelineArtifactChannel:
    """Fetch a feature repository, unless the cache has a copy with the same fingerprint.

    The cache of Kubeflow Pipelines identifies an artifact by the execution that wrote it. So each run computes the
    fingerprint and reuses the copy of a run with the same one: only then are the steps that read it reused too.
    """
    version = fingerprint_repository(address=address, known=fingerprint).set_caching_options(enable_caching=False)
    return fetch_repository(address=address, fingerprint=version.output).outputs["repo"]
