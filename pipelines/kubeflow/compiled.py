"""The pipelines as Kubeflow takes them: placed on a cluster, with the settings as their parameters' defaults."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.resources import on_cluster, our_image
from pipelines.refresh_items import refresh_items_in
from pipelines.training import training_in, training_on_dataset
from two_tower.config import DeployConfig, Settings, with_assignments
from two_tower.errors import InputError, unknown

PIPELINES = {
    "training": training_in,
    "refresh_items": refresh_items_in,
    "dataset": lambda shards: training_on_dataset,  # noqa: ARG005 - these catalogues need no shards
}


@dataclass(frozen=True)
class Plan:
    """A pipeline by its name, and all that `--set` can change about it."""

    pipeline: str
    settings: Settings
    cluster: ClusterConfig

    @classmethod
    def of(cls, pipeline: str, assignments: list[str]) -> Self:
        """Raises InputError for an unknown pipeline, an unknown setting and a value that is not allowed."""
        if pipeline not in PIPELINES:
            raise unknown("pipeline", pipeline, PIPELINES)
        base = Settings()
        found = with_assignments({**base.sections(), "cluster": ClusterConfig()}, assignments)
        cluster = found.pop("cluster")
        if found["report"] != base.report:
            raise InputError(
                "cost_per_hour is for `two-tower run`, on one machine. A cluster bills its nodes: leave it out."
            )
        found["deploy"] = _with_our_image(found["deploy"], cluster)
        return cls(pipeline, Settings(**found), cluster)

    @cached_property
    def built(self) -> GraphComponent:
        return on_cluster(PIPELINES[self.pipeline](self.cluster.shards), self.cluster)

    def arguments(self) -> dict[str, Any]:
        """The settings as the pipeline's parameters, a section each."""
        sections = {f"{name}_config": section.to_json() for name, section in self.settings.sections().items()}
        taken = self.built.component_spec.inputs or {}
        return {name: text for name, text in sections.items() if name in taken}

    def write(self, path: Path) -> None:
        compiler.Compiler().compile(self.built, str(path), pipeline_parameters=self.arguments())


def _with_our_image(deploy: DeployConfig, cluster: ClusterConfig) -> DeployConfig:
    """The serving image from the registry of the others, unless it was named."""
    if deploy.serving_image != DeployConfig.serving_image:
        return deploy
    return replace(deploy, serving_image=our_image(deploy.serving_image, cluster.image_tag, cluster))
