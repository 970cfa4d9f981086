"""The settings of a cluster, validated before anything is compiled: what steps ask for and what they are given."""

import re
from dataclasses import dataclass

from two_tower import __version__
from two_tower.config import Section

_CPU = re.compile(r"\d+m|\d+(\.\d+)?")
_MEMORY = re.compile(r"\d+([KMGT]i?)?")
_KEY = r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?"
_NAME = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
LABEL = re.compile(rf"(?P<key>{_KEY})=(?P<value>[-A-Za-z0-9_.]*)")
TOLERATION = re.compile(
    rf"(?P<key>{_KEY})(=(?P<value>[-A-Za-z0-9_.]+))?:(?P<effect>NoSchedule|NoExecute|PreferNoSchedule)"
)
SECRET = re.compile(rf"(?P<secret>{_NAME})/(?P<key>[-A-Za-z0-9_.]+)(=(?P<variable>[A-Za-z_][A-Za-z0-9_]*))?")
MOUNT = re.compile(rf"(?P<name>{_NAME}):(?P<path>/[^\s,:]+)")
VARIABLE = re.compile(r"(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>[^,]*)")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")

_LISTS = {  # settings that hold several values, separated by commas: the form of each, and how to say it
    "node_selector": (LABEL, "LABEL=VALUE"),
    "train_node_selector": (LABEL, "LABEL=VALUE"),
    "tolerations": (TOLERATION, "KEY=VALUE:EFFECT or KEY:EFFECT"),
    "train_tolerations": (TOLERATION, "KEY=VALUE:EFFECT or KEY:EFFECT"),
    "secrets": (SECRET, "SECRET/KEY or SECRET/KEY=VARIABLE"),
    "secret_volumes": (MOUNT, "SECRET:/PATH"),
    "volumes": (MOUNT, "CLAIM:/PATH"),
    "environment": (VARIABLE, "VARIABLE=VALUE"),
}


@dataclass(frozen=True, kw_only=True)
class ClusterConfig(Section):
    """What steps ask of a cluster. Lists are separated by commas; memory is both the request and the limit.

    accelerator, accelerators: resource name and number of those that training asks for; 0 trains on the CPU.
    data_*, train_*, model_*: of the steps that read data, that train, and that run the trained towers.
    retries: of a step that fails, after retry_seconds, then retry_factor times as long each, retry_most_seconds at
        most. A gate is never tried again, for it would decide the same.
    step_timeout, train_timeout: seconds that a pod may live.
    node_selector, tolerations: of every step; train_node_selector, train_tolerations: of training, besides.
    secrets: SECRET/KEY=VARIABLE into the environment of every step; secret_volumes, volumes: mounted there.
    environment: VARIABLE=VALUE of every step.
    image_prefix: registry and folder of the images. image_tag, train_image_tag: their version; of training's, where it
        is another, such as a CUDA variant.
    image_pull_secret, service_account: as Kubernetes names them; empty for the namespace's own.
    shards: pods that embed the catalogue, each a part of it.
    pending_minutes: how long `submit --wait` lets a step wait for a machine before it says so and gives up.
    """

    accelerator: str = "nvidia.com/gpu"
    accelerators: int = 1
    data_cpu: str = "2"
    data_memory: str = "8Gi"
    train_cpu: str = "4"
    train_memory: str = "16Gi"
    model_cpu: str = "2"
    model_memory: str = "8Gi"
    retries: int = 3
    retry_seconds: int = 30
    retry_factor: float = 2.0
    retry_most_seconds: int = 600
    step_timeout: int = 4 * 3600
    train_timeout: int = 24 * 3600
    node_selector: str = ""
    train_node_selector: str = ""
    tolerations: str = ""
    train_tolerations: str = ""
    secrets: str = ""
    secret_volumes: str = ""
    volumes: str = ""
    environment: str = ""
    image_prefix: str = ""
    image_tag: str = __version__
    train_image_tag: str = ""
    image_pull_secret: str = ""
    service_account: str = ""
    shards: int = 1
    pending_minutes: float = 15.0

    def check(self) -> None:
        for name in ("data_cpu", "train_cpu", "model_cpu"):
            self.require(bool(_CPU.fullmatch(getattr(self, name))), name, "cores, such as 2, 0.5 or 500m")
        for name in ("data_memory", "train_memory", "model_memory"):
            self.require(bool(_MEMORY.fullmatch(getattr(self, name))), name, "bytes, such as 8Gi or 512Mi")
        for name, (form, said) in _LISTS.items():
            for one in split(getattr(self, name)):
                self.require(
                    bool(form.fullmatch(one)), name, f"{said}, separated by commas; {one!r} is not of that form"
                )
        for name in ("image_tag", "train_image_tag"):
            tag = getattr(self, name)
            allowed = "a version; `latest` would be taken from the cache when it changes"
            self.require((not tag or bool(_TAG.fullmatch(tag))) and tag != "latest", name, allowed)
        self.require(0 <= self.accelerators <= 64, "accelerators", "0 to 64")
        self.require(0 <= self.retries <= 20, "retries", "0 to 20")
        self.require(self.retry_factor >= 1, "retry_factor", "at least 1")
        for name in ("retry_seconds", "retry_most_seconds", "step_timeout", "train_timeout"):
            self.require(getattr(self, name) >= 1, name, "seconds, at least 1")
        self.require(1 <= self.shards <= 1000, "shards", "1 to 1000")
        self.require(self.pending_minutes > 0, "pending_minutes", "minutes above 0")


def split(text: str) -> list[str]:
    """The values of a list."""
    return [one.strip() for one in text.split(",") if one.strip()]


def read(form: re.Pattern[str], text: str) -> dict[str, str]:
    """The named parts of one value of a list."""
    match = form.fullmatch(text)
    assert match is not None, "the settings were checked"
    return match.groupdict()
