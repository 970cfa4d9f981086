"""Settings of the deploy step."""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from two_tower._version import __version__
from two_tower.config.fields import Bounds, Count, Form, Positive
from two_tower.config.section import Section

# Name of a Kubernetes service. `latest-NAME-predictor` and `NAME-green-predictor` may have 63 characters.
_NAME, _NAME_WORDS = r"[a-z]([-a-z0-9]{0,44}[a-z0-9])?", "lower-case letters, digits and dashes, at most 46, "
_NAMESPACE, _SECRET = r"([a-z]([-a-z0-9]{0,61}[a-z0-9])?)?", r"([a-z0-9]([-.a-z0-9]*[a-z0-9])?)?"
_Address = Annotated[str, Form(re.compile(r"(https?://\S+)?"), "an http:// or https:// address, or empty")]


@dataclass(frozen=True, kw_only=True)
class DeployConfig(Section):
    """Deployment: where a release is served, and the smoke test that it passes before."""

    deployer: Literal["local", "kserve", "kubernetes"] = "local"
    """How a release is deployed. `local` serves the release on the machine of the deploy step, runs the smoke test,
    then moves the pointer `current`, which every service that follows it reads. `kserve` stages the release on KServe,
    in the mode that the cluster has (Knative or Standard), runs the smoke test, then promotes the release or rolls it
    back. `kubernetes` does the same with Deployments and Services, without KServe."""

    service: Annotated[str, Form(re.compile(_NAME), f"{_NAME_WORDS}with a letter first")] = "two-tower"
    """Name of the InferenceService or of the Service that users call, and of the model in the model registry. Change it
    if the namespace holds several."""

    namespace: Annotated[str, Form(re.compile(_NAMESPACE), "the name of a namespace, or empty")] = ""
    """Kubernetes namespace of the service. Empty: the namespace of the deploy step. Set it if the service runs in
    another namespace than the pipeline."""

    kubernetes_api: _Address = ""
    """Address of the Kubernetes API. Empty: the cluster in which the deploy step runs. Set it to deploy from outside of
    the cluster."""

    serving_image: str = f"two-tower-serving:{__version__}"
    """Container image of a service that does not exist yet; an existing one keeps its image. Default: the image of this
    version, on a cluster under image_prefix. Set it to an image of your own."""

    serving_account: str = "two-tower"
    """Kubernetes service account of a service that does not exist yet. It needs read access to the releases. Change it
    if another account has that access."""

    storage_secret: Annotated[str, Form(re.compile(_SECRET), "the name of a Secret, or empty")] = ""
    """Kubernetes Secret whose keys become environment variables of the container of a service that does not exist yet,
    such as AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL. Empty: none. Set it if the account has no
    identity that the object store accepts: KServe does not pass an account's Secret to the container."""

    canary_percent: Annotated[int, Bounds(at_least=1, at_most=100)] = 10
    """Percentage of the traffic that the new release receives during the smoke test, if another release serves. `local`
    does not use it, nor do KServe's Standard mode and `kubernetes` without an HTTPRoute. Lower it if even a short
    exposure to a bad release is costly."""

    ready_timeout: Count = 600
    """Seconds in which the new release has to become ready. Raise it if nodes take long to start or the release is
    large."""

    questions: Count = 100
    """Number of users of the smoke test, at most 500: half of them the newest, half spread over all users. Their
    features in the online store and their items have to be those that the run knows. Raise it to compare more users;
    lower it to promote sooner."""

    slowest_ms: Positive = 250.0
    """Latency in milliseconds within which 95 % of the responses of the smoke test have to arrive; `local` does not use
    it. Set it to the latency that your callers accept."""

    model_registry: _Address = ""
    """Address of a Kubeflow Model Registry, in which a promoted release is registered. Empty: none. Set it if other
    teams find models there."""
