"""The search of `two-tower tune` as a Katib experiment: the same space; each trial is a Job in the training image.

Source: https://www.kubeflow.org/docs/components/katib/user-guides/katib-config/ and the API
types of kubeflow.org/v1beta1.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import yaml

from components import TRAIN_IMAGE
from pipelines.kubeflow.cluster import (
    LABEL,
    MOUNT,
    SECRET,
    TOLERATION,
    VARIABLE,
    ClusterConfig,
    read,
    store_environment,
)
from pipelines.kubeflow.resources import image_with_tag
from two_tower.config import TrainConfig, with_assignments
from two_tower.config.fields import split
from two_tower.errors import InputError
from two_tower.tuning.space import DEFAULT, Choices, Dimension, Space
from two_tower.tuning.study import COMPARED, GRACE

METRIC, LOSS = "recall@20", "loss"
# Name and value in the line that the training prints after each epoch; a regular expression in the syntax of Go.
METRICS_FORMAT = r"(loss|recall@20) (-?[0-9]+\.[0-9]+)"
CONTAINER = "training"
PARALLEL = 3
_PLACES = ("checkpoints", "mlflow")  # not part of the search; the trials do not use them


@dataclass(frozen=True)
class Experiment:
    """Checked options of `two-tower tune --katib`.

    Attributes:
        name: Name of the experiment.
        pulled: URL or path of the output of a pull step, as the pods of the trials reach it.
        trials: Number of trials.
        space: Search space.
        train: Training settings that all trials share.
        cluster: Settings of the cluster.
    """

    name: str
    pulled: str
    trials: int
    space: Space
    train: TrainConfig
    cluster: ClusterConfig

    @classmethod
    def of(cls, pulled: str | None, trials: int, space: Path | None, assignments: list[str]) -> Self:
        """Check the options.

        Raises:
            InputError: `pulled` is missing, or a setting or the search space is not allowed.
        """
        if not pulled:
            raise InputError(
                "--katib needs --pulled with the output of a pull step, as the pods of the trials reach it: in an "
                "object store (s3://…, gs://…) or on a volume (--set volumes=CLAIM:/PATH)."
            )
        sections = with_assignments({"train": TrainConfig(), "cluster": ClusterConfig()}, assignments)
        return cls("two-tower", pulled, trials, Space.read(space or DEFAULT), sections["train"], sections["cluster"])

    def write(self, path: Path) -> None:
        """Write the experiment as YAML."""
        path.write_text(yaml.safe_dump(self.manifest(), sort_keys=False, width=120))

    def manifest(self) -> dict[str, Any]:
        """The Kubernetes object for `kubectl apply`."""
        return {
            "apiVersion": "kubeflow.org/v1beta1",
            "kind": "Experiment",
            "metadata": {"name": self.name, "labels": {"app.kubernetes.io/name": "two-tower"}},
            "spec": {
                "objective": {
                    "type": "maximize",
                    "objectiveMetricName": METRIC,
                    "additionalMetricNames": [LOSS],
                    "metricStrategies": [{"name": METRIC, "value": "max"}, {"name": LOSS, "value": "min"}],
                },
                "algorithm": {
                    "algorithmName": "tpe",
                    "algorithmSettings": [{"name": "random_state", "value": str(self.train.seed)}],
                },
                "earlyStopping": {
                    "algorithmName": "medianstop",
                    "algorithmSettings": [
                        {"name": "min_trials_required", "value": str(COMPARED)},
                        {"name": "start_step", "value": str(GRACE + 1)},
                    ],
                },
                "parallelTrialCount": min(PARALLEL, self.trials),
                "maxTrialCount": self.trials,
                "maxFailedTrialCount": max(1, self.trials // 4),
                "resumePolicy": "FromVolume",
                "metricsCollectorSpec": {
                    "collector": {"kind": "StdOut"},
                    "source": {"filter": {"metricsFormat": [METRICS_FORMAT]}},
                },
                "parameters": [_parameter(name, one) for name, one in self.space.dimensions.items()],
                "trialTemplate": self._template(),
            },
        }

    def _template(self) -> dict[str, Any]:
        return {
            "primaryContainerName": CONTAINER,
            "successCondition": 'status.conditions.#(type=="Complete")#|#(status=="True")#',
            "failureCondition": 'status.conditions.#(type=="Failed")#|#(status=="True")#',
            "trialParameters": [{"name": name, "reference": name} for name in self.space.dimensions],
            "trialSpec": {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "spec": {
                    "backoffLimit": 0,
                    "activeDeadlineSeconds": self.cluster.train_timeout,
                    "template": {
                        # With an Istio sidecar the Job would never end.
                        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
                        "spec": self._pod(),
                    },
                },
            },
        }

    def _pod(self) -> dict[str, Any]:
        cluster, volumes, mounts = self.cluster, [{"name": "tmp", "emptyDir": {}}], [_mount("tmp", "/tmp")]  # noqa: S108
        claims = {one: {"persistentVolumeClaim": {"claimName": one}} for one in _names(cluster.volumes)}
        secrets = {one: {"secret": {"secretName": one}} for one in _names(cluster.secret_volumes)}
        volumes += [{"name": name, **source} for name, source in (claims | secrets).items()]
        mounts += [_mount(**read(MOUNT, one)) for one in split(cluster.volumes) + split(cluster.secret_volumes)]
        pod: dict[str, Any] = {
            "restartPolicy": "Never",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [self._container(mounts)],
            "volumes": volumes,
        }
        if cluster.service_account:
            pod["serviceAccountName"] = cluster.service_account
        if cluster.image_pull_secret:
            pod["imagePullSecrets"] = [{"name": cluster.image_pull_secret}]
        labels = [read(LABEL, one) for one in split(cluster.node_selector) + split(cluster.train_node_selector)]
        if labels:
            pod["nodeSelector"] = {label["key"]: label["value"] for label in labels}
        taints = [read(TOLERATION, one) for one in split(cluster.tolerations) + split(cluster.train_tolerations)]
        if taints:
            pod["tolerations"] = [_toleration(taint) for taint in taints]
        return pod

    def _container(self, mounts: list[dict[str, str]]) -> dict[str, Any]:
        cluster = self.cluster
        limits = {"memory": cluster.train_memory}
        if cluster.accelerators:
            limits[cluster.accelerator] = "1"  # a trial is one process
        return {
            "name": CONTAINER,
            "image": image_with_tag(TRAIN_IMAGE, cluster.train_image_tag or cluster.image_tag, cluster),
            "command": ["python", "-m", "two_tower.training"],
            "args": self._arguments(),
            "env": _environment(cluster),
            "resources": {"requests": {"cpu": cluster.train_cpu, "memory": cluster.train_memory}, "limits": limits},
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": mounts,
        }

    def _arguments(self) -> list[str]:
        """Arguments of the training; Katib replaces the parameters by the values of each trial."""
        defaults = TrainConfig()
        fixed = {f.name: getattr(self.train, f.name) for f in fields(self.train) if f.name not in _PLACES}
        sets = {name: value for name, value in fixed.items() if value != getattr(defaults, name)}
        sets |= {name: f"${{trialParameters.{name}}}" for name in self.space.dimensions}
        arguments = ["--pulled", self.pulled, "--out", "/tmp/model"]  # noqa: S108 - inside the pod
        return arguments + [f"--set={name}={value}" for name, value in sets.items()]


def _parameter(name: str, dimension: Dimension) -> dict[str, Any]:
    if isinstance(dimension, Choices):
        kind = "categorical" if any(isinstance(value, str) for value in dimension.values) else "discrete"
        return {"name": name, "parameterType": kind, "feasibleSpace": {"list": [str(v) for v in dimension.values]}}
    space = {"min": str(dimension.low), "max": str(dimension.high)}
    return {
        "name": name,
        "parameterType": "int" if dimension.whole else "double",
        "feasibleSpace": space | {"distribution": "logUniform" if dimension.log else "uniform"},
    }


def _environment(cluster: ClusterConfig) -> list[dict[str, Any]]:
    explicit = {one["key"]: one["value"] for one in (read(VARIABLE, text) for text in split(cluster.environment))}
    plain = store_environment(cluster) | explicit
    secret = [read(SECRET, one) for one in split(cluster.secrets)]
    return [
        {
            "name": one["variable"] or one["key"],
            "valueFrom": {"secretKeyRef": {"name": one["secret"], "key": one["key"]}},
        }
        for one in secret
    ] + [{"name": name, "value": value} for name, value in plain.items()]


def _names(mounts: str) -> list[str]:
    return [read(MOUNT, one)["name"] for one in split(mounts)]


def _mount(name: str, path: str) -> dict[str, str]:
    return {"name": name, "mountPath": path}


def _toleration(taint: dict[str, str]) -> dict[str, str]:
    toleration = {"key": taint["key"], "operator": "Equal" if taint["value"] else "Exists", "effect": taint["effect"]}
    return toleration | ({"value": taint["value"]} if taint["value"] else {})
