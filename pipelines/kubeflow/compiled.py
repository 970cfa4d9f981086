"""Pipelines compiled for Kubeflow, with resources and node placement, and the settings as parameter defaults."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import yaml
from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from pipelines.kubeflow.cluster import ClusterConfig
from pipelines.kubeflow.resources import image_with_tag, on_cluster
from pipelines.refresh_items import refresh_items_in
from pipelines.training import training_in, training_on_dataset_in
from two_tower.config import DeployConfig, Settings, with_assignments
from two_tower.errors import InputError, unknown

PIPELINES: dict[str, Callable[[int, int], GraphComponent]] = {  # by the numbers of shards and of training processes
    "training": training_in,
    "refresh_items": lambda shards, _: refresh_items_in(shards),
    "dataset": lambda _, processes: training_on_dataset_in(processes),  # these catalogues fit into one shard
}


@dataclass(frozen=True)
class Plan:
    """A pipeline and the settings that `--set` changes.

    Attributes:
        pipeline: Key of PIPELINES.
        settings: Settings of the steps.
        cluster: Settings of the cluster.
    """

    pipeline: str
    settings: Settings
    cluster: ClusterConfig

    @classmethod
    def of(cls, pipeline: str, assignments: list[str]) -> Self:
        """Check the options.

        Raises:
            InputError: The pipeline or a setting is unknown, or a value is not allowed.
        """
        if pipeline not in PIPELINES:
            raise unknown("pipeline", pipeline, PIPELINES)
        base = Settings()
        sections = with_assignments({**base.sections(), "cluster": ClusterConfig()}, assignments)
        cluster = sections.pop("cluster")
        if sections["report"] != base.report:
            raise InputError(
                "cost_per_hour is only for `two-tower run` on one machine; a cluster bills its nodes. Remove it."
            )
        sections["deploy"] = _with_serving_image(sections["deploy"], cluster)
        return cls(pipeline, Settings(**sections), cluster)

    @cached_property
    def built(self) -> GraphComponent:
        """The pipeline with resources and placement."""
        return on_cluster(PIPELINES[self.pipeline](self.cluster.shards, self.processes), self.cluster)

    @property
    def has_shards(self) -> bool:
        """Whether the pipeline embeds the catalogue in a loop over shards; the refresh does it for a single one too."""
        return self.pipeline == "refresh_items" or (self.pipeline == "training" and self.cluster.shards > 1)

    @property
    def processes(self) -> int:
        """Number of processes that train one model."""
        return 1 if self.settings.train.device == "cpu" else max(1, self.cluster.accelerators)

    def arguments(self) -> dict[str, Any]:
        """Settings as parameters of the pipeline, one per section."""
        sections = {f"{name}_config": section.to_json() for name, section in self.settings.sections().items()}
        parameters = self.built.component_spec.inputs or {}
        return {name: text for name, text in sections.items() if name in parameters}

    def documents(self) -> dict[str, Any]:
        """The compiled pipeline as the Pipelines API takes it: the pipeline and, if it has one, its platform part."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "pipeline.yaml"
            self.write(path)
            pipeline, *platform = yaml.safe_load_all(path.read_text())
        return {"pipeline_spec": pipeline, "platform_spec": platform[0]} if platform else pipeline

    def write(self, path: Path) -> None:
        """Write the pipeline as YAML."""
        compiler.Compiler().compile(self.built, str(path), pipeline_parameters=self.arguments())


def _with_serving_image(deploy: DeployConfig, cluster: ClusterConfig) -> DeployConfig:
    """Take the default serving image from the registry of the other images."""
    if deploy.serving_image != DeployConfig.serving_image:
        return deploy
    return replace(deploy, serving_image=image_with_tag(deploy.serving_image, cluster.image_tag, cluster))
