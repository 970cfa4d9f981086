"""A model of the cache of Kubeflow Pipelines 2.17.0, for compiled pipelines.

Read in backend/src/v2/driver/cache.go, cacheutils/cache.go and metadata/converter.go of kubeflow/pipelines at 7b70c7b9:
the key of a step is the hash of its image, its command, the values of its input parameters, the ids of its input
artifacts in ML Metadata, the names and types of its outputs, and the claims that it mounts. A step that is found by its
key has the same output artifacts, with their ids. Environment variables are not in the key.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

from tests.pipelines.specs import Compiled


class Cache:
    """The cache of one namespace; `run` plays one run of a pipeline."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    def run(self, compiled: Compiled, arguments: Mapping[str, Any], results: Mapping[str, Any]) -> set[str]:
        """Play a run.

        Args:
            compiled: The pipeline.
            arguments: Parameters of the pipeline; others have their defaults.
            results: Output parameter of each step that has one.

        Returns:
            Names of the steps that ran and were not reused.
        """
        declared = compiled.spec["root"]["inputDefinitions"]["parameters"]
        values = {name: one.get("defaultValue") for name, one in declared.items()} | dict(arguments)
        ran: set[str] = set()
        self._dag(compiled, compiled.spec["root"]["dag"], values, {}, results, ran)
        return ran

    def _dag(self, compiled, dag, parameters, artifacts, results, ran) -> dict[str, Any]:  # type: ignore[no-untyped-def]
        """Run the tasks of a DAG in order; return the outputs by task and name."""
        outputs: dict[str, dict[str, Any]] = {}
        waiting = dict(dag["tasks"])
        while waiting:
            key = next(key for key, task in waiting.items() if not set(task.get("dependentTasks", ())) & set(waiting))
            task = waiting.pop(key)
            component = compiled.spec["components"][task["componentRef"]["name"]]
            given = task.get("inputs", {})
            values = {n: _value(one, parameters, outputs) for n, one in given.get("parameters", {}).items()}
            ids = {n: _artifact(one, artifacts, outputs) for n, one in given.get("artifacts", {}).items()}
            if "dag" in component:
                loop = task["parameterIterator"]
                items = json.loads(loop["items"]["raw"])
                runs = [
                    self._dag(compiled, component["dag"], values | {loop["itemInput"]: one}, ids, results, ran)
                    for one in items
                ]
                selectors = component["dag"].get("outputs", {}).get("artifacts", {})
                outputs[key] = {
                    name: [run[s["producerSubtask"]][s["outputArtifactKey"]] for run in runs]
                    for name, selected in selectors.items()
                    for s in selected["artifactSelectors"]
                }
            else:
                outputs[key] = self._step(compiled, task, component, values, ids, results, ran)
        return outputs

    def _step(self, compiled, task, component, values, ids, results, ran) -> dict[str, Any]:  # type: ignore[no-untyped-def]
        name = task["taskInfo"]["name"]
        container = compiled.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        declared = component.get("outputDefinitions", {})
        command = container.get("command", []) + container.get("args", [])
        claims = sorted(one["constant"] for one in compiled.pod(name).get("pvcMount", []))
        key = json.dumps([container["image"], command, values, ids, declared, claims], sort_keys=True)
        is_cached = task.get("cachingOptions", {}).get("enableCache", False)
        if is_cached and key in self._entries:
            return self._entries[key]
        ran.add(name)
        made: dict[str, Any] = {output: next(self._ids) for output in declared.get("artifacts", {})}
        made |= dict.fromkeys(declared.get("parameters", {}), results.get(name))
        if is_cached:
            self._entries[key] = made
        return made


def _value(one: dict[str, Any], parameters: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    if "componentInputParameter" in one:
        return parameters[one["componentInputParameter"]]
    if "taskOutputParameter" in one:
        return outputs[one["taskOutputParameter"]["producerTask"]][one["taskOutputParameter"]["outputParameterKey"]]
    return one["runtimeValue"]["constant"]


def _artifact(one: dict[str, Any], artifacts: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    if "componentInputArtifact" in one:
        return artifacts[one["componentInputArtifact"]]
    source = one["taskOutputArtifact"]
    return outputs[source["producerTask"]][source["outputArtifactKey"]]
