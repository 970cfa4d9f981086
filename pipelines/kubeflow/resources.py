"""Resources, retries and node placement of each step of a compiled pipeline: one table for all pipelines.

The pipelines define only the steps. For a cluster a pipeline is traced again and each step gets its resources, so one
definition works on a laptop, where resources have no effect, and on a cluster.
"""

import functools
from dataclasses import dataclass

from kfp import dsl, kubernetes
from kfp.dsl import pipeline_context
from kfp.dsl.graph_component import GraphComponent
from kfp.dsl.pipeline_task import PipelineTask

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
from two_tower.config.fields import split
from two_tower.errors import unknown


@dataclass(frozen=True)
class Need:
    """Resources of a step.

    Attributes:
        group: Group of the cpu and memory settings; light steps use LIGHT_CPU and LIGHT_MEMORY.
        retried: Whether a failed step is retried. A gate is not: the result would be the same.
    """

    group: str
    retried: bool = True


NEEDS = {
    "prepare": Need("data"),
    "fingerprint-repository": Need("data"),
    "fetch-repository": Need("data"),
    "pull": Need("data"),
    "catalogue": Need("data"),
    "validate": Need("data"),
    "leaks": Need("data"),
    "materialise": Need("data"),
    "train": Need("train"),
    "export": Need("model"),
    "snapshot": Need("model"),
    "embed": Need("model"),
    "index": Need("model"),
    "assemble": Need("model"),
    "refresh": Need("model"),
    "evaluate": Need("model"),
    "promote": Need("model"),
    "publish": Need("model"),
    "publish-refreshed": Need("model"),
    "current-release": Need("light"),
    "fetch": Need("model"),
    "report": Need("light"),
    "deploy": Need("model"),
    "gate": Need("light", retried=False),
}
LIGHT_CPU, LIGHT_MEMORY = "500m", "2Gi"


def on_cluster(pipeline: GraphComponent, config: ClusterConfig) -> GraphComponent:
    """Give every step of a pipeline its resources and placement, by the table and the settings."""
    function = pipeline.pipeline_func

    @functools.wraps(function)
    def placed(*arguments):
        output = function(*arguments)
        for task in pipeline_context.Pipeline.get_default_pipeline().tasks.values():
            _place(task, config)
        return output

    spec = pipeline.component_spec
    return dsl.pipeline(name=spec.name, description=spec.description)(placed)


def _place(task: PipelineTask, config: ClusterConfig) -> None:
    step = task.component_spec.name
    if step not in NEEDS:
        raise unknown("step in the table of needs", step, NEEDS)
    need = NEEDS[step]
    _size(task, need, config)
    is_training = need.group == "train"
    timeout = config.train_timeout if is_training else config.step_timeout
    if need.retried and config.retries:
        task.set_retry(
            config.retries,
            backoff_duration=f"{config.retry_seconds}s",
            backoff_factor=config.retry_factor,
            backoff_max_duration=f"{_retry_window(timeout, config)}s",
        )
    kubernetes.set_timeout(task, timeout)
    tag = (config.train_image_tag if is_training else "") or config.image_tag
    task.set_container_image(image_with_tag(task.container_spec.image, tag, config))
    _schedule(task, is_training, config)
    _attach(task, config)


def _retry_window(timeout: int, config: ClusterConfig) -> int:
    """Seconds that all attempts and the pauses between them may take together.

    Argo counts the window from the start of the first attempt. At its end, it ends a running attempt and starts no
    other.
    """
    pauses = (config.retry_seconds * config.retry_factor**n for n in range(config.retries))
    return (config.retries + 1) * timeout + sum(pauses)


def _size(task: PipelineTask, need: Need, config: ClusterConfig) -> None:
    is_light = need.group == "light"
    cpu = LIGHT_CPU if is_light else getattr(config, f"{need.group}_cpu")
    memory = LIGHT_MEMORY if is_light else getattr(config, f"{need.group}_memory")
    task.set_cpu_request(cpu).set_memory_request(memory).set_memory_limit(memory)
    if need.group == "train" and config.accelerators:
        task.set_accelerator_type(config.accelerator).set_accelerator_limit(config.accelerators)
        if config.accelerators > 1:  # NCCL passes data between processes in /dev/shm, of which a container has 64 MB
            kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory")  # noqa: S108


def image_with_tag(image: str, tag: str, config: ClusterConfig) -> str:
    """Name of an image of this project, such as two-tower-train:0.1.0, with the registry prefix and another tag."""
    prefix = f"{config.image_prefix.rstrip('/')}/" if config.image_prefix else ""
    return f"{prefix}{image.rpartition(':')[0]}:{tag}"


def _schedule(task: PipelineTask, is_training: bool, config: ClusterConfig) -> None:
    selectors = split(config.node_selector) + (split(config.train_node_selector) if is_training else [])
    for one in selectors:
        label = read(LABEL, one)
        kubernetes.add_node_selector(task, label["key"], label["value"])
    for one in split(config.tolerations) + (split(config.train_tolerations) if is_training else []):
        taint = read(TOLERATION, one)
        operator = "Equal" if taint["value"] else "Exists"
        kubernetes.add_toleration(task, taint["key"], operator, taint["value"] or None, taint["effect"])


def _attach(task: PipelineTask, config: ClusterConfig) -> None:
    """Attach secrets, volumes and environment variables, the same for every step."""
    for one in split(config.secrets):
        secret = read(SECRET, one)
        variable = secret["variable"] or secret["key"]
        kubernetes.use_secret_as_env(task, secret["secret"], {secret["key"]: variable})
    for one in split(config.secret_volumes):
        mount = read(MOUNT, one)
        kubernetes.use_secret_as_volume(task, mount["name"], mount["path"])
    for one in split(config.volumes):
        mount = read(MOUNT, one)
        kubernetes.mount_pvc(task, pvc_name=mount["name"], mount_path=mount["path"])
    for name, value in store_environment(config).items():
        task.set_env_variable(name, value)
    for one in split(config.environment):
        variable = read(VARIABLE, one)
        task.set_env_variable(variable["key"], variable["value"])
    if config.image_pull_secret:
        kubernetes.set_image_pull_secrets(task, [config.image_pull_secret])
