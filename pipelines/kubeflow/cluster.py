"""Settings of the cluster, checked before a pipeline is compiled: what each step requests and receives."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from two_tower import __version__
from two_tower.config import Section
from two_tower.config.fields import Bounds, Count, Form, NonNegative, Positive
from two_tower.object_stores import ADDRESSING
from two_tower.retries import RETRY_SECONDS

_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
LABEL = re.compile(rf"(?P<key>{_KEY})=(?P<value>[-A-Za-z0-9_.]*)")
TOLERATION = re.compile(
    rf"(?P<key>{_KEY})(=(?P<value>[-A-Za-z0-9_.]+))?:(?P<effect>NoSchedule|NoExecute|PreferNoSchedule)"
)
SECRET = re.compile(rf"(?P<secret>{_NAME})/(?P<key>[-A-Za-z0-9_.]+)(=(?P<variable>[A-Za-z_][A-Za-z0-9_]*))?")
MOUNT = re.compile(rf"(?P<name>{_NAME}):(?P<path>/[^\s,:]+)")
VARIABLE = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>[^,]*)")
_TAG = r"(?!latest$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_TAG_WORDS = "a version; not `latest`, because Kubeflow's cache does not notice when that changes"

_Cores = Annotated[str, Form(re.compile(r"[0-9]+m|[0-9]+(\.[0-9]+)?"), "cores, such as 2, 0.5 or 500m")]
_Memory = Annotated[str, Form(re.compile(r"[0-9]+([KMGT]i?)?"), "bytes, such as 8Gi or 512Mi")]
_Url = Annotated[str, Form(re.compile(r"(https?://[^\s,]+)?"), "an http:// or https:// address, or empty")]
_Labels = Annotated[str, Form(LABEL, "LABEL=VALUE", separated=True)]
_Tolerations = Annotated[str, Form(TOLERATION, "KEY=VALUE:EFFECT or KEY:EFFECT", separated=True)]


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(Section):
    """Cluster: what each step of a pipeline requests from Kubernetes, for `compile`, `submit` and `tune --katib`."""

    accelerator: str = "nvidia.com/gpu"
    """Resource name of the accelerator that training requests. Change it for another vendor or a MIG slice, such as
    `nvidia.com/mig-1g.10gb`, of which a process can use one."""

    accelerators: Annotated[int, Bounds(at_least=0, at_most=64)] = 1
    """Number of accelerators that training requests. One process trains on each, on a share of every batch. 0 trains
    on the CPU; set `device=cpu` with it."""

    data_cpu: _Cores = "2"
    """CPU cores that each step on data requests: pull, validate, leaks, materialise and others. Raise it to shorten the
    pull."""

    data_memory: _Memory = "8Gi"
    """Memory of each step on data, both the request and the limit. Raise it if the pull is killed (OOMKilled)."""

    train_cpu: _Cores = "4"
    """CPU cores that the train step requests. Raise it if training runs on the CPU."""

    train_memory: _Memory = "16Gi"
    """Memory of the train step, both the request and the limit. Training streams its rows from disk if they do not fit;
    see `stream`."""

    model_cpu: _Cores = "2"
    """CPU cores that each step on the trained towers requests: export, embed, index, evaluate, publish and others.
    Raise it to shorten the embedding of a large catalogue."""

    model_memory: _Memory = "8Gi"
    """Memory of each step on the trained towers, both the request and the limit. Raise it for catalogues of millions of
    items."""

    retries: Annotated[int, Bounds(at_least=0, at_most=20)] = 3
    """Number of times that a failed step is retried. A gate is never retried, because it would decide the same. With
    the defaults of Kubeflow Pipelines 2.17, only a pod that its node lost or evicted is retried, and not a step that
    exits with an error. Raise it on nodes that can be preempted."""

    retry_seconds: Count = 30
    """Waiting time before the first retry, in seconds. It grows by retry_factor with each further retry. Raise it if a
    failed dependency needs longer to recover."""

    retry_factor: Count = 2
    """Factor by which the waiting time grows from one retry to the next. 1 keeps it constant. It is a whole number,
    because Argo retries nothing with another one."""

    store_minutes: NonNegative = 10.0
    """Minutes that a step tries again to reach an object store, feature store or registry after it lost the connection.
    0: the step fails at once. Raise it if a store is away for longer, for example while it is upgraded."""

    step_timeout: Count = 4 * 3600
    """Seconds after which the pod of a step is ended, except for training. Raise it if a step on large data needs
    longer."""

    train_timeout: Count = 24 * 3600
    """Seconds after which the pod of the train step is ended. A retry resumes from the last
    checkpoint."""

    node_selector: _Labels = ""
    """Node labels that every step requires. Set it to keep the steps on certain nodes."""

    train_node_selector: _Labels = ""
    """Node labels that training requires in addition to node_selector, for example those of GPU nodes."""

    tolerations: _Tolerations = ""
    """Node taints that every step tolerates. EFFECT is NoSchedule, NoExecute or PreferNoSchedule. Set it if the nodes
    for the steps are tainted."""

    train_tolerations: _Tolerations = ""
    """Node taints that training tolerates in addition to tolerations, for example those of GPU nodes."""

    secrets: Annotated[str, Form(SECRET, "SECRET/KEY or SECRET/KEY=VARIABLE", separated=True)] = ""
    """Keys of Kubernetes secrets that every step receives as environment variables, named VARIABLE or else KEY."""

    secret_volumes: Annotated[str, Form(MOUNT, "SECRET:/PATH", separated=True)] = ""
    """Kubernetes secrets that every step mounts as folders. Use it for credentials that a library reads from a file."""

    volumes: Annotated[str, Form(MOUNT, "CLAIM:/PATH", separated=True)] = ""
    """Persistent volume claims that every step mounts. Use one if the pods have no object store."""

    s3_endpoint: _Url = ""
    """Address of an S3 store other than AWS, for the s3:// and minio:// addresses of every step, such as
    `http://minio-service.kubeflow:9000`. Empty: AWS. Sets AWS_ENDPOINT_URL."""

    s3_region: Annotated[str, Form(re.compile(r"[-A-Za-z0-9_]*"), "the name of a region, or empty")] = ""
    """Region of the buckets, such as `eu-west-1`. Empty: what the client finds. Sets AWS_REGION and
    AWS_DEFAULT_REGION."""

    s3_addressing: Literal["auto", "path", "virtual"] = "auto"
    """Whether the path or the host name of an S3 request names the bucket. `auto`: the path with s3_endpoint, the host
    name on AWS. Set `virtual` for a store that requires it. Sets TWO_TOWER_S3_ADDRESSING."""

    environment: Annotated[str, Form(VARIABLE, "VARIABLE=VALUE", separated=True)] = ""
    """Environment variables of every step. A value cannot contain a comma. Use it for what is not secret. It has
    precedence over the variables of other settings."""

    image_prefix: str = ""
    """Registry and folder of the images, such as `registry.example.com/shop`. Empty: the images have no prefix. Set it
    to the registry that you push the images to."""

    image_tag: Annotated[str, Form(re.compile(_TAG), _TAG_WORDS)] = __version__
    """Tag of the images. Default: the version of this package. Set it if you push the images under another tag."""

    train_image_tag: Annotated[str, Form(re.compile(f"({_TAG})?"), f"{_TAG_WORDS}; or empty")] = ""
    """Tag of the training image, for example of the CUDA variant. Empty: image_tag."""

    image_pull_secret: str = ""
    """Kubernetes secret with which images are pulled. Empty: none. Set it if the registry is private."""

    service_account: str = ""
    """Kubernetes service account that runs the steps. Empty: the default of the namespace. Set it if that one may not
    change the InferenceService."""

    shards: Annotated[int, Bounds(at_least=1, at_most=1000)] = 1
    """Number of pods that embed the catalogue, each a part of it; for the pipelines `training` and `refresh_items`.
    Raise it for catalogues of millions of items."""

    pending_minutes: Positive = 2.0
    """Minutes that a pod may be pending before `submit --wait` says so; it waits on. Raise it if nodes are added on
    demand."""

    api_minutes: Positive = 10.0
    """Minutes that `submit --wait` waits for a Pipelines API that answers with errors or not at all. The run goes on
    meanwhile. Raise it if the API is often down for longer."""

    def check(self) -> None:
        if self.accelerator.startswith("nvidia.com/mig-"):
            self.require(self.accelerators <= 1, "accelerators", f"0 or 1, for accelerator={self.accelerator}")


def store_environment(config: ClusterConfig) -> dict[str, str]:
    """Environment variables of a step that say where its S3 store is, and how long a store may be away."""
    variables = {
        "AWS_ENDPOINT_URL": config.s3_endpoint,
        "AWS_REGION": config.s3_region,
        "AWS_DEFAULT_REGION": config.s3_region,
        ADDRESSING: "" if config.s3_addressing == "auto" else config.s3_addressing,
        RETRY_SECONDS: f"{60 * config.store_minutes:g}" if config.store_minutes else "",
    }
    return {name: value for name, value in variables.items() if value}


def read(form: re.Pattern[str], text: str) -> dict[str, str]:
    """Split one value of a comma-separated setting into the named groups of its pattern."""
    match = form.fullmatch(text)
    assert match is not None, "the settings were checked"
    return match.groupdict()
