"""Settings, each validated once. A step gets its own section as JSON, so that it alone reruns when one changes.

Every field's name is unique over all sections, so `--set KEY=VALUE` needs no section's name.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, get_args, get_origin

from two_tower._version import __version__
from two_tower.errors import InputError, unknown

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?")  # of a Kubernetes service; KServe adds to it, within 63


@dataclass(frozen=True, kw_only=True)
class Section:
    """One step's settings."""

    def __post_init__(self) -> None:
        for f in fields(self):
            allowed = get_args(f.type) if get_origin(f.type) is Literal else ()
            if allowed and getattr(self, f.name) not in allowed:
                raise unknown(f.name, str(getattr(self, f.name)), map(str, allowed))
        self.check()

    def check(self) -> None:
        """Raise InputError where values are out of range."""

    def require(self, condition: bool, name: str, allowed: str) -> None:
        if not condition:
            raise InputError(f"{name}={getattr(self, name)!r} is out of range. Allowed: {allowed}.")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))


@dataclass(frozen=True, kw_only=True)
class PullConfig(Section):
    """How the feature store is read and the time line split.

    train_fraction, validation_fraction: shares of the interactions, in order of time; the rest is the test window.
    index_refreshes: how often the index is refreshed in the test window, as a nightly job would.
    compare_with: whether the data gate holds data against those of the release that serves; "nothing" accepts a change
        that is meant, once.
    """

    train_fraction: float = 0.8
    validation_fraction: float = 0.1
    index_refreshes: int = 8
    compare_with: Literal["release", "nothing"] = "release"

    def check(self) -> None:
        self.require(0 < self.train_fraction < 1, "train_fraction", "between 0 and 1")
        room = 1 - self.train_fraction
        self.require(0 < self.validation_fraction < room, "validation_fraction", f"between 0 and {room:.3g}")
        self.require(1 <= self.index_refreshes <= 1000, "index_refreshes", "1 to 1000")


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Section):
    """The towers, the loss and the loop. Widths count numbers, learning_rate is per step, patience counts epochs.

    id_dropout: share of the categorical values that read as unknown in training, for the sake of new users and items.
    history: how a list of items becomes one vector: a mean weighed by recency, or by recency and content (attention).
    temperature: divides the scores, but in losses with a margin. margin: of contrastive, triplet (with its `mining`)
        and cosine_contrastive (whose negatives weigh `negative_weight`).
    negatives: where they come from (see `negatives.Negatives`). sampled_negatives: how many a batch has beside its own
        items: drawn, for all or (`own`) for each positive its share, kept in the queue, or mined; popularity_exponent:
        of popularity, mixed and own, 0 draws all items alike; hard_refresh: steps between two indexes for mining.
    shuffle_window: how far apart in time, counted in positives, those of a batch may lie. Its in-batch negatives then
        are items as they were at about that time, which is how a catalogue is ranked.
    schedule: of the learning rate after `warmup` steps: constant, or falling to 0 with the last of `epochs`.
    averaging: share of the moving average of the weights that one step keeps.
    sparse_rows: embedding tables of at least so many rows are updated only where a batch touches them.
    stream: whether the training rows of a pull that is given as a folder stay on disk, and are trained in shards: auto
        decides by the memory at hand, and says so. stream_megabytes: what of them memory holds at a time.
    compile: whether torch.compile builds the code of towers and loss before the first steps; it needs a compiler.
    precision: of the towers' products in training; weights, losses and the optimiser stay float32.
    checkpoints: folder, or address in object storage, from which a run that was broken off goes on; `two-tower run` has
        one of its own, and on a cluster none are kept where it is empty. checkpoint_seconds: least time between two
        within an epoch; there is one after each epoch anyway.
    mlflow: address of an MLflow tracking server; may be empty.
    """

    dim: int = 64
    feature_dim: int = 32
    hidden: int = 128
    dropout: float = 0.1
    id_dropout: float = 0.05
    history: Literal["mean", "attention"] = "mean"
    loss: Literal["sampled_softmax", "info_nce", "pointwise", "bpr", "cosine_contrastive", "contrastive", "triplet"] = (
        "sampled_softmax"
    )
    similarity: Literal["cosine", "dot", "euclidean"] = "cosine"
    temperature: float = 0.1
    margin: float = 0.5
    negative_weight: float = 1.0
    mining: Literal["random", "semi_hard", "hard"] = "random"
    negatives: Literal["in_batch", "uniform", "popularity", "mixed", "queue", "hard", "own"] = "in_batch"
    sampled_negatives: int = 1024
    popularity_exponent: float = 0.75
    hard_refresh: int = 200
    batch_size: int = 512
    shuffle_window: int = 8192
    epochs: int = 30
    patience: int = 3
    learning_rate: float = 0.002
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    warmup: int = 0
    weight_decay: float = 1e-5
    averaging: float = 0.995
    sparse_rows: int = 100_000
    stream: Literal["auto", "on", "off"] = "auto"
    stream_megabytes: int = 2000
    compile: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    checkpoints: str = ""
    checkpoint_seconds: float = 60.0
    mlflow: str = ""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0

    def check(self) -> None:
        for name in (
            *("dim", "feature_dim", "hidden", "epochs", "patience", "shuffle_window"),
            *("sampled_negatives", "hard_refresh", "sparse_rows", "stream_megabytes"),
        ):
            self.require(getattr(self, name) >= 1, name, "a whole number of at least 1")
        self.require(self.batch_size >= 2, "batch_size", "at least 2, for a batch holds its own negatives")
        self.require(isinstance(self.compile, bool), "compile", "true or false")
        if self.loss == "cosine_contrastive":
            self.require(
                self.similarity == "cosine", "similarity", "cosine, which the loss cosine_contrastive asks for"
            )
        if self.negatives == "own":
            self.require(self.loss in ("pointwise", "bpr"), "loss", "pointwise or bpr, where negatives=own")
        for name in ("dropout", "id_dropout", "averaging"):
            self.require(0 <= getattr(self, name) < 1, name, "0 up to, not including, 1")
        for name in ("temperature", "learning_rate", "margin"):
            self.require(getattr(self, name) > 0, name, "a number above 0")
        for name in ("weight_decay", "negative_weight", "popularity_exponent", "warmup", "checkpoint_seconds"):
            self.require(getattr(self, name) >= 0, name, "a number of at least 0")


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig(Section):
    """What the promotion gate asks.

    bootstrap_samples: resamples of the users behind each interval.
    min_lift: the least allowed ratio of recall@20 to popularity's.
    tolerance: the share by which recall@20 may lie below the current release's, beyond the interval of noise.
    """

    bootstrap_samples: int = 500
    min_lift: float = 1.0
    tolerance: float = 0.0

    def check(self) -> None:
        self.require(self.bootstrap_samples >= 10, "bootstrap_samples", "at least 10")
        self.require(self.min_lift >= 0, "min_lift", "a number of at least 0")
        self.require(0 <= self.tolerance < 1, "tolerance", "0 up to, not including, 1")


@dataclass(frozen=True, kw_only=True)
class DeployConfig(Section):
    """Where a release goes, and what it has to prove there before it serves.

    deployer: `local` moves the pointer `current`, which every service that follows it picks up; `kserve` first sends
        an InferenceService's canary share of the traffic to the release, and moves the pointer when it is promoted.
    service, namespace: name of the InferenceService, and where it is; an empty namespace is the step's own.
    kubernetes_api: address of the Kubernetes API; empty for the cluster that the step runs in.
    serving_image, serving_account: image and service account of an InferenceService that is not there yet.
    canary_percent: share of the traffic that meets the release while it is replayed.
    ready_timeout: seconds in which it must become ready.
    questions: users whose questions are replayed, at most. slowest_ms: the most that 95 % of the answers may take.
    model_registry: address of a Kubeflow Model Registry, in which a promoted release is registered; may be empty.
    """

    deployer: Literal["local", "kserve"] = "local"
    service: str = "two-tower"
    namespace: str = ""
    kubernetes_api: str = ""
    serving_image: str = f"two-tower-serving:{__version__}"
    serving_account: str = "two-tower"
    canary_percent: int = 10
    ready_timeout: int = 600
    questions: int = 100
    slowest_ms: float = 250.0
    model_registry: str = ""

    def check(self) -> None:
        allowed = "lower-case letters, digits and dashes, at most 49, with a letter first"
        self.require(bool(_NAME.fullmatch(self.service)), "service", allowed)
        self.require(not self.namespace or bool(_NAME.fullmatch(self.namespace)), "namespace", allowed)
        for name in ("kubernetes_api", "model_registry"):
            address = getattr(self, name)
            self.require(not address or address.startswith(("http://", "https://")), name, "an address, https://…")
        self.require(1 <= self.canary_percent <= 100, "canary_percent", "1 to 100")
        self.require(self.ready_timeout >= 1, "ready_timeout", "seconds, at least 1")
        self.require(self.questions >= 1, "questions", "at least 1")
        self.require(self.slowest_ms > 0, "slowest_ms", "milliseconds above 0")


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Section):
    """What the report of `two-tower run` tells beside what was measured.

    cost_per_hour: what an hour of this machine costs, in any currency; each step's cost is its seconds of that. 0: not
        known, and no cost is told.
    """

    cost_per_hour: float = 0.0

    def check(self) -> None:
        self.require(self.cost_per_hour >= 0, "cost_per_hour", "a number of at least 0")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All sections of a training run."""

    pull: PullConfig = PullConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    deploy: DeployConfig = DeployConfig()
    report: ReportConfig = ReportConfig()

    def with_values(self, values: dict[str, Any]) -> "Settings":
        """These settings with some fields replaced, each given as text or as a value of its type.

        Raises InputError for an unknown name (with the nearest one) and for a value that is not of the field's type.
        """
        sections = {f.name: getattr(self, f.name) for f in fields(self)}
        return Settings(**changed(sections, values))


def changed(sections: Mapping[str, Section], values: Mapping[str, Any]) -> dict[str, Any]:
    """The sections by name, with each value in the section whose field has its name; see `Settings.with_values`."""
    owner = {f.name: (name, f.type) for name, s in sections.items() for f in fields(s)}
    changes: dict[str, dict[str, Any]] = {name: {} for name in sections}
    for key, value in values.items():
        if key not in owner:
            raise unknown("setting", key, owner)
        section, kind = owner[key]
        changes[section][key] = _parse(key, value, kind)
    return {name: replace(s, **changes[name]) for name, s in sections.items()}


def _parse(key: str, value: Any, kind: Any) -> Any:
    if kind is bool:
        if str(value).lower() not in ("true", "false"):
            raise InputError(f"{key}={value!r} is neither true nor false.")
        return str(value).lower() == "true"
    if kind not in (int, float):
        return str(value)
    try:
        return kind(value)
    except ValueError as error:
        what = "a whole number" if kind is int else "a number"
        raise InputError(f"{key}={value!r} is not {what}.") from error


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """KEY=VALUE texts, as `--set` takes them, as a dictionary; of one key given twice the last counts."""
    pairs = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--set takes KEY=VALUE; got {text!r}.")
        pairs[key.strip()] = value.strip()
    return pairs
