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
from two_tower.errors import InputError
from two_tower.http_json import call

IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
PROJECTED_TOKEN = Path("/var/run/secrets/kubeflow/pipelines/token")  # Kubeflow mounts it where a pod may submit
TIMEOUT = 10.0  # seconds to wait for the health check


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A Pipelines API that responds.

    Attributes:
        host: URL.
        token: Bearer token; empty if the API requires none.
        namespace: Namespace of the user; empty in a single-user installation.
    """

    host: str
    token: str
    namespace: str

    @classmethod
    def of(cls, host: str, token: str, namespace: str) -> "Endpoint":
        """Check the URL and the token, and read the projected token of a pod if no token is given.

        Raises:
            InputError: Nothing responds at `host`, something other than a Pipelines API does, or it refuses the token.
        """
        host = (host or IN_CLUSTER).rstrip("/")
        if not host.startswith(("http://", "https://")):
            raise InputError(f"--host {host!r} is not a URL. Add the protocol, such as https://{host}.")
        if not token and PROJECTED_TOKEN.is_file():
            token = PROJECTED_TOKEN.read_text().strip()
        endpoint = cls(host=host, token=token, namespace=namespace)
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
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def client(self) -> kfp.Client:
        projected = set_volume_credentials.ServiceAccountTokenVolumeCredentials(path=str(PROJECTED_TOKEN))
        is_projected = PROJECTED_TOKEN.is_file() and self.token == PROJECTED_TOKEN.read_text().strip()
        credentials = {"credentials": projected} if is_projected else {"existing_token": self.token or None}
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
            InputError: There is no source, or the cluster cannot read a path.
        """
        name = "dataset" if plan.pipeline == "dataset" else "feature_repo"
        if not getattr(self, name):
            raise InputError("pass the data to train on: --feature-repo s3://BUCKET/FOLDER or --dataset NAME.")
        mounts = [one.rpartition(":")[2] for one in plan.cluster.volumes.split(",") if one]
        for option, address in (("--feature-repo", self.feature_repo), ("--releases", self.releases)):
            if address is not None and "://" not in address and not any(address.startswith(m) for m in mounts):
                raise InputError(
                    f"{option} {address!r} is not readable by the pods of the cluster. Upload it and pass "
                    "s3://BUCKET/FOLDER or gs://BUCKET/FOLDER, or mount a volume with --set volumes=CLAIM:/PATH."
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
