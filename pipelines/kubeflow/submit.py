"""Runs and recurring runs on a Kubeflow Pipelines endpoint."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from pipelines.kubeflow.addresses import check_address, check_mounted
from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.schedule import cron
from pipelines.kubeflow.versions import check_version
from two_tower import __version__
from two_tower.datasets import DATASETS
from two_tower.errors import InputError, unknown
from two_tower.http_json import NotAnApiError, call

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PROJECTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # Kubeflow mounts it where a pod may submit
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
API = "/apis/v2beta1"
TIMEOUT, SUBMIT_TIMEOUT = 10.0, 60.0  # seconds to wait for the health check, and for other responses


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A Pipelines API that responds.

    Attributes:
        host: URL.
        token: Bearer token; empty if the API requires none.
        namespace: Namespace of the user; empty in a single-user installation.
        is_projected: The token is that of the pod's file, which Kubernetes renews.
    """

    host: str
    token: str
    namespace: str
    is_projected: bool = False

    @classmethod
    def of(cls, host: str, token: str, namespace: str) -> "Endpoint":
        """Check the URL and the token, and read the projected token of a pod if no token is given.

        Raises:
            InputError: Nothing responds at `host`, something other than a Pipelines API does, or it refuses the token.
        """
        host = (host or IN_CLUSTER).rstrip("/")
        if not host.startswith(("http://", "https://")):
            raise InputError(f"--host {host!r} is not a URL. Add the protocol, such as https://{host}.")
        is_projected = not token and PROJECTED_TOKEN.is_file()
        endpoint = cls(host=host, token=token, namespace=namespace, is_projected=is_projected)
        if endpoint.health().get("multi_user") and not namespace:
            if not POD_NAMESPACE.is_file():
                raise InputError(f"{host} has a namespace for each user. Pass yours with --namespace.")
            return replace(endpoint, namespace=POD_NAMESPACE.read_text().strip())
        return endpoint

    def health(self) -> dict[str, Any]:
        """Request the health check of the API, which also has its version.

        Raises:
            InputError: Nothing responds, something other than a Pipelines API does, or it refuses the token.
        """
        forward = (
            "`kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80` makes it reachable at http://localhost:8080"
        )
        try:
            reply = call("GET", f"{self.host}{API}/healthz", headers=self.headers(), timeout=TIMEOUT)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise InputError(f"no Pipelines API responds at {self.host}: {reason}. Check --host; {forward}.") from error
        except NotAnApiError as error:
            raise InputError(f"{error} {forward[0].upper()}{forward[1:]}.") from error
        if reply.status in (401, 403):
            raise InputError(refused(self.host, reply.status, reply.body))
        if reply.status != 200 or not isinstance(reply.body, dict):
            raise InputError(
                f"{self.host} is not a Pipelines API: /apis/v2beta1/healthz returns HTTP {reply.status}. Check --host; "
                f"{forward}."
            )
        return reply.body

    @property
    def sends_token_in_the_clear(self) -> bool:
        """Whether a token goes over plain HTTP, and not to this machine or to a service of the cluster."""
        url = urlsplit(self.host)
        name = url.hostname or ""
        is_near = re.fullmatch(r"localhost|127\..*|::1|[^.:]+|.*\.(svc|local)", name) is not None
        return url.scheme == "http" and bool(self.headers()) and not is_near

    def headers(self) -> dict[str, str]:
        """Headers of a request, with the token as it is now."""
        token = PROJECTED_TOKEN.read_text().strip() if self.is_projected else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Send a request to the API and return the JSON object of its response.

        The client of kfp follows redirects, and sends requests without a time limit.

        Raises:
            InputError: The API does not respond, or it refuses the request.
        """
        try:
            reply = call(method, f"{self.host}{API}{path}", body, headers=self.headers(), timeout=SUBMIT_TIMEOUT)
        except OSError as error:
            raise InputError(f"no response from {self.host}: {getattr(error, 'reason', error)}. Try again.") from error
        if reply.status in (401, 403):
            raise InputError(refused(self.host, reply.status, reply.body))
        if reply.status >= 300 or not isinstance(reply.body, dict):
            raise InputError(f"{self.host} refused the request (HTTP {reply.status}): {_message(reply.body)}.")
        return reply.body

    def run_address(self, run_id: str) -> str:
        return f"{self.host}/#/runs/details/{run_id}"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Data of a pipeline and the place of its releases, as the pods of the cluster reach them."""

    dataset: str | None
    data_dir: str
    feature_repo: str | None
    releases: str
    as_of: str
    fingerprint: str

    def arguments(self, plan: Plan) -> dict[str, str]:
        """Parameters of the pipeline.

        Raises:
            InputError: There is no source, the data set is unknown, or the cluster cannot read a path.
        """
        if self.dataset is not None and self.dataset not in DATASETS:
            raise unknown("data set", self.dataset, DATASETS)
        name = "dataset" if plan.pipeline == "dataset" else "feature_repo"
        if not getattr(self, name):
            raise InputError("pass the data to train on: --feature-repo s3://BUCKET/FOLDER or --dataset NAME.")
        if self.feature_repo:
            check_address("--feature-repo", self.feature_repo, plan.cluster)
        check_address("--releases", self.releases, plan.cluster)
        if self.data_dir:
            check_mounted("--data-dir", self.data_dir, plan.cluster)
        common = {"releases": self.releases, "as_of": self.as_of, "fingerprint": self._fingerprint()}
        source = {"data_dir": self.data_dir} if name == "dataset" else {}
        return {name: str(getattr(self, name)), **source, **common}

    def _fingerprint(self) -> str:
        """The text that stands for the state of the data; empty if the run computes it from a feature repository."""
        if self.fingerprint or self.dataset is None:
            return self.fingerprint
        if self.data_dir:  # files that only the pods can read
            return f"submitted {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return f"{self.dataset} of {__version__}"


def submit(endpoint: Endpoint, plan: Plan, source: Source, experiment: str) -> str:
    """Start a run and return its id.

    Raises:
        InputError: The endpoint refuses the run or is too old for it, or the cluster cannot read a path.
    """
    arguments = {**source.arguments(plan), **plan.arguments()}
    check_version(endpoint.health(), plan)
    run = {
        "experiment_id": _experiment(endpoint, experiment),
        "display_name": f"two-tower {plan.pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M}",
        "pipeline_spec": plan.documents(),
        "runtime_config": {"parameters": arguments},
        "service_account": plan.cluster.service_account,
    }
    return str(endpoint.request("POST", "/runs", run)["run_id"])


def schedule(endpoint: Endpoint, plan: Plan, source: Source, experiment: str, expression: str) -> str:
    """Create a recurring run and return its id.

    Each run computes the fingerprint of its feature repository. A data set with --data-dir has the fingerprint of its
    submission in every run, so the cache is off for it.

    Raises:
        InputError: The endpoint refuses the run or is too old for it, the cluster cannot read a path, or a fingerprint
            is given.
    """
    if source.fingerprint:
        raise InputError("--fingerprint is for one run: with it, a recurring run would not read new data. Remove it.")
    arguments = {**source.arguments(plan), **plan.arguments()}
    check_version(endpoint.health(), plan)
    spec = plan.documents()
    if source.data_dir:
        for task in spec.get("pipeline_spec", spec)["root"]["dag"]["tasks"].values():
            task.setdefault("cachingOptions", {})["enableCache"] = False
    recurring_run = {
        "experiment_id": _experiment(endpoint, experiment),
        "display_name": f"two-tower {plan.pipeline}",
        "mode": "ENABLE",
        "pipeline_spec": spec,
        "runtime_config": {"parameters": arguments},
        "trigger": {"cron_schedule": {"cron": cron(expression)}},
        "max_concurrency": "1",
        "no_catchup": True,
        "service_account": plan.cluster.service_account,
    }
    return str(endpoint.request("POST", "/recurringruns", recurring_run)["recurring_run_id"])


def stop(endpoint: Endpoint, run_id: str) -> None:
    """Ask the endpoint to stop a run.

    Raises:
        InputError: The endpoint does not know the run, or it has ended.
    """
    endpoint.request("POST", f"/runs/{run_id}:terminate")


def refused(host: str, status: int, body: Any) -> str:
    """Message for a request that the API refused with status 401 or 403.

    Kubeflow Pipelines answers 403 also for a namespace that does not exist, since nobody has rights in it.
    """
    if status == 401:
        return (
            f"{host} refused the token (HTTP 401): it is missing, expired or for another audience. Create one with "
            "`kubectl create token ACCOUNT -n NAMESPACE --audience pipelines.kubeflow.org`, and pass it in the "
            "environment variable TWO_TOWER_TOKEN."
        )
    return (
        f"{host} does not allow this request (HTTP 403): {_message(body)}. Check that the namespace of --namespace "
        "exists, and that the account of the token is a contributor of it (`kubectl get rolebindings -n NAMESPACE`)."
    )


def _message(body: Any) -> str:
    """The message of an error response."""
    text = body.get("message") or body.get("error") if isinstance(body, dict) else body
    return str(text or "no reason given")[:300].rstrip(".")


def _experiment(endpoint: Endpoint, name: str) -> str:
    """The id of an experiment, which is created if it does not exist."""
    by_name = {"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]}
    owner = {"namespace": endpoint.namespace} if endpoint.namespace else {}
    query = urlencode({"filter": json.dumps(by_name), **owner})
    experiments = endpoint.request("GET", f"/experiments?{query}").get("experiments")
    if not experiments:
        experiments = [endpoint.request("POST", "/experiments", {"display_name": name, **owner})]
    return str(experiments[0]["experiment_id"])
