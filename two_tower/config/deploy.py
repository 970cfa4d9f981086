"""Settings of the deploy step."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from two_tower._version import __version__
from two_tower.config.fields import Bounds, Count, Form, Positive
from two_tower.config.section import Section

# Name of a Kubernetes service. KServe adds suffixes to it, and the whole may have 63 characters.
_NAME, _NAME_WORDS = r"[a-z]([-a-z0-9]{0,47}[a-z0-9])?", "lower-case letters, digits and dashes, at most 49, "
_Address = Annotated[str, Form(re.compile(r"(https?://\S+)?"), "an http:// or https:// address, or empty")]


@dataclass(frozen=True, kw_only=True)
class DeployConfig(Section):
    """Deployment: where a release is served, and the smoke test that it passes before."""

    deployer: Literal["local", "kserve"] = "local"
    """How a release is deployed. `local` serves the release on the machine of the deploy step, runs the smoke test,
    then moves the pointer `current`, which every service that follows it reads. `kserve` gives the release a share of
    an InferenceService's traffic, runs the smoke test, then promotes the release or rolls it back. Use `kserve` if the
    service runs on KServe in serverless mode."""

    service: Annotated[str, Form(re.compile(_NAME), f"{_NAME_WORDS}with a letter first")] = "two-tower"
    """Name of the InferenceService, and of the model in the model registry. Change it if the namespace holds
    several."""

    namespace: Annotated[str, Form(re.compile(f"({_NAME})?"), f"{_NAME_WORDS}with a letter first; or empty")] = ""
    """Kubernetes namespace of the InferenceService. Empty: the namespace of the deploy step. Set it if the service runs
    in another namespace than the pipeline."""

    kubernetes_api: _Address = ""
    """Address of the Kubernetes API. Empty: the cluster in which the deploy step runs. Set it to deploy from outside of
    the cluster."""

    serving_image: str = f"two-tower-serving:{__version__}"
    """Container image of an InferenceService that does not exist yet; an existing one keeps its image. Default: the
    image of this version, on a cluster under image_prefix. Set it to an image of your own."""

    serving_account: str = "two-tower"
    """Kubernetes service account of an InferenceService that does not exist yet. It needs read access to the releases.
    Change it if another account has that access."""

    canary_percent: Annotated[int, Bounds(at_least=1, at_most=100)] = 10
    """Percentage of the traffic that the new release receives during the smoke test (`kserve` only). Lower it if even a
    short exposure to a bad release is costly."""

    ready_timeout: Count = 600
    """Seconds in which the new release has to become ready. Raise it if nodes take long to start or the release is
    large."""

    questions: Count = 100
    """Number of users of the smoke test, at most 500: half of them the newest, half spread over all users. Their
    features in the online store and their items have to be those that the run knows. Raise it to compare more users;
    lower it to promote sooner."""

    slowest_ms: Positive = 250.0
    """Latency in milliseconds within which 95 % of the responses of the smoke test have to arrive (`kserve` only). Set
    it to the latency that your callers accept."""

    model_registry: _Address = ""
    """Address of a Kubeflow Model Registry, in which a promoted release is registered. Empty: none. Set it if other
    teams find models there."""
