"""Compiled pipelines as a reader sees them: steps by the names that the pipeline gave them, groups opened."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from kfp import components

from pipelines.kubeflow.compiled import Plan


class Compiled:
    """A compiled file, which kfp has loaded too. Attributes: spec, platform, steps (tasks by name)."""

    def __init__(self, path: Path) -> None:
        components.load_component_from_file(str(path))
        documents = list(yaml.safe_load_all(path.read_text()))
        self.spec: dict[str, Any] = documents[0]
        platforms = documents[1]["platforms"] if len(documents) > 1 else {}
        kubernetes = platforms.get("kubernetes", {}).get("deploymentSpec", {})
        self.platform = kubernetes.get("executors", {})
        self.steps = dict(self._steps(self.spec["root"]["dag"]))

    def _steps(self, dag: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        for task in dag["tasks"].values():
            component = self.spec["components"][task["componentRef"]["name"]]
            if "dag" in component:
                yield from self._steps(component["dag"])
            yield task["taskInfo"]["name"], task

    def before(self, name: str) -> set[str]:
        """The steps that a step waits for."""
        dag = self.spec["root"]["dag"]["tasks"]
        return {dag[key]["taskInfo"]["name"] for key in self.steps[name].get("dependentTasks", [])}

    def _executor(self, name: str) -> str:
        return self.spec["components"][self.steps[name]["componentRef"]["name"]].get("executorLabel", "")

    def container(self, name: str) -> dict[str, Any]:
        return self.spec["deploymentSpec"]["executors"].get(self._executor(name), {}).get("container", {})

    def pod(self, name: str) -> dict[str, Any]:
        """What is said to Kubernetes alone of a step."""
        return self.platform.get(self._executor(name), {})

    def containers(self) -> list[str]:
        """The steps that run in a container of ours."""
        return [name for name in self.steps if self.container(name)]


@cache
def compiled(pipeline: str, *assignments: str) -> Compiled:
    """A pipeline as it is compiled for a cluster; each one is compiled once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        Plan.of(pipeline, list(assignments)).write(path)
        return Compiled(path)
