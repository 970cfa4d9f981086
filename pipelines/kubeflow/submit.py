"""Runs and recurring runs on a Kubeflow Pipelines endpoint."""

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import kfp
import kfp_server_api
import urllib3
from kfp.client import set_volume_credentials

from pipelines.kubeflow.compiled import Plan
from pipelines.kubeflow.schedule import cron
from two_tower.datasets import DATASETS
from two_tower.errors import InputError, unknown
from two_tower.http_json import call

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PROJECTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # Kubeflow mounts it where a pod may submit
IMPORTED = ("s3://", "gs://", "minio://")  # what the launcher of 2.17 opens; a path on a volume is refused there
TIMEOUT = 10.0  # seconds to wait for the health check


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
        endpoint.check()
        return endpoint

    def check(self) -> None:
        """Request the health check of the API."""
        forward = (
            "`kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80` makes it reachable at http://localhost:8080"
        )
        try:
            reply = call("GET", f"{self.host}/apis/v2beta1/healthz", headers=self.headers(), timeout=TIMEOUT)
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise InputError(f"no Pipelines API responds at {self.host}: {reason}. Check --host; {forward}.") from error
        if reply.status in (401, 403):
            raise InputError(refused(self.host, reply.status))
        if reply.status != 200 or not isinstance(reply.body, dict):
            response = "a web page, perhaps a login" if reply.status == 200 else f"HTTP {reply.status}"
            raise InputError(
                f"{self.host} is not a Pipelines API: /apis/v2beta1/healthz returns {response}. Check --host, or pass "
                f"a token with --token; {forward}."
            )

    def headers(self) -> dict[str, str]:
        """Headers of a request, with the token as it is now."""
        token = PROJECTED_TOKEN.read_text().strip() if self.is_projected else self.token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def client(self) -> kfp.Client:
        projected = set_volume_credentials.ServiceAccountTokenVolumeCredentials(path=str(PROJECTED_TOKEN))
        credentials = {"credentials": projected} if self.is_projected else {"existing_token": self.token or None}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="This client only works with", category=FutureWarning)
            return kfp.Client(host=self.host, namespace=self.namespace or "kubeflow", **credentials)

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
        if self.feature_repo is not None and not self.feature_repo.startswith(IMPORTED):
            raise InputError(
                f"--feature-repo {self.feature_repo!r} cannot be imported by Kubeflow Pipelines, which reads object "
                f"stores only. Upload the folder, and pass {', '.join(IMPORTED)} followed by BUCKET/FOLDER."
            )
        mounts = [one.rpartition(":")[2] for one in plan.cluster.volumes.split(",") if one]
        if "://" not in self.releases and not any(self.releases.startswith(mount) for mount in mounts):
            raise InputError(
                f"--releases {self.releases!r} is not writable by the pods of the cluster. Pass s3://BUCKET/FOLDER or "
                "gs://BUCKET/FOLDER, or mount a volume with --set volumes=CLAIM:/PATH."
            )
        common = {"releases": self.releases, "as_of": self.as_of, "fingerprint": self.fingerprint}
        source = {"data_dir": self.data_dir} if name == "dataset" else {}
        return {name: str(getattr(self, name)), **source, **common}


def submit(endpoint: Endpoint, plan: Plan, source: Source, experiment: str) -> str:
    """Start a run and return its id.

    Raises:
        InputError: The endpoint refuses the run, or the cluster cannot read a path.
    """
    stamped = source.fingerprint or f"submitted {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    arguments = {**source.arguments(plan), "fingerprint": stamped, **plan.arguments()}
    with _package(plan) as package, refusals(endpoint), _quiet():
        client = endpoint.client()
        run = client.run_pipeline(
            _experiment(client, experiment, endpoint),
            f"two-tower {plan.pipeline} {datetime.now(UTC):%Y-%m-%d %H:%M}",
            package,
            arguments,
            service_account=plan.cluster.service_account or None,
        )
    return str(run.run_id)


def schedule(endpoint: Endpoint, plan: Plan, source: Source, experiment: str, expression: str) -> str:
    """Create a recurring run and return its id.

    Caching is off: every run has the same parameters, so the cache could not detect new data.

    Raises:
        InputError: The endpoint refuses the run, or the cluster cannot read a path.
    """
    arguments = {**source.arguments(plan), **plan.arguments()}
    with _package(plan) as package, refusals(endpoint), _quiet():
        client = endpoint.client()
        recurring_run = client.create_recurring_run(
            _experiment(client, experiment, endpoint),
            f"two-tower {plan.pipeline}",
            cron_expression=cron(expression),
            max_concurrency=1,
            no_catchup=True,
            params=arguments,
            pipeline_package_path=package,
            enable_caching=False,
            service_account=plan.cluster.service_account or None,
        )
    return str(recurring_run.recurring_run_id)


def stop(endpoint: Endpoint, run_id: str) -> None:
    """Ask the endpoint to stop a run.

    Raises:
        InputError: The endpoint does not know the run, or it has ended.
    """
    with refusals(endpoint):
        endpoint.client().terminate_run(run_id)


def refused(host: str, status: int) -> str:
    """Message for a token that the API refused."""
    return (
        f"{host} refused the token (HTTP {status}): it is missing, expired or from another user. Create one with "
        "`kubectl create token ACCOUNT -n NAMESPACE --audience pipelines.kubeflow.org`, and pass it with --token or "
        "TWO_TOWER_TOKEN."
    )


@contextlib.contextmanager
def refusals(endpoint: Endpoint) -> Iterator[None]:
    """Turn an error response of the endpoint, and no response at all, into InputError."""
    try:
        yield
    except kfp_server_api.ApiException as error:
        if error.status in (401, 403):
            raise InputError(refused(endpoint.host, error.status)) from error
        response = str(error.body or error.reason)[:300]
        raise InputError(f"{endpoint.host} refused the request (HTTP {error.status}): {response}") from error
    except urllib3.exceptions.HTTPError as error:
        raise InputError(f"no response from {endpoint.host}: {error}. Try again.") from error


def _experiment(client: kfp.Client, name: str, endpoint: Endpoint) -> str:
    return str(client.create_experiment(name, namespace=endpoint.namespace or None).experiment_id)


@contextlib.contextmanager
def _package(plan: Plan) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        plan.write(path)
        yield str(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discard the URLs that kfp prints; some of them are relative."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
