"""Access to a Kubernetes API server with the rights of the caller: a kubeconfig, the account of a pod, or a proxy."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.config.config_exception import ConfigException

from two_tower.deployment.kubernetes import ACCOUNT
from two_tower.errors import InputError
from two_tower.http_json import call

TIMEOUT = 10.0  # seconds


class NotAnsweredError(Exception):
    """The API server does not answer this question: it is not reachable, or the caller has no right to ask it."""


@dataclass(frozen=True)
class KubeAccess:
    """An API server and the credentials of the caller.

    Attributes:
        address: Address of the API server.
        namespace: Namespace of the caller; `default` if no configuration names one.
        token: Bearer token; empty for a client certificate or a proxy.
        context: TLS settings, None for http.
        is_pod: The credentials are those of the service account of this pod.
    """

    address: str
    namespace: str
    token: str = ""
    context: ssl.SSLContext | None = None
    is_pod: bool = False

    @classmethod
    def of(cls, address: str) -> "KubeAccess":
        """Find the API server.

        Args:
            address: Address of an API server that needs no credentials, such as that of `kubectl proxy`. Empty: the
                current context of the kubeconfig file, else the cluster of this pod.

        Raises:
            InputError: There is neither a kubeconfig file nor a pod, or the file cannot be used.
        """
        if address:
            return cls(address.rstrip("/"), "default")
        settings = client.Configuration()
        is_pod = (ACCOUNT / "token").is_file() and not _kubeconfigs()
        try:
            if is_pod:
                config.load_incluster_config(client_configuration=settings)
                namespace = (ACCOUNT / "namespace").read_text().strip()
            else:
                config.load_kube_config(client_configuration=settings)
                namespace = config.list_kube_config_contexts()[1]["context"].get("namespace") or "default"
        except (ConfigException, OSError) as error:
            raise InputError(
                f"no Kubernetes cluster is configured: {error}. Set KUBECONFIG, or run `kubectl proxy` and pass "
                "--kubernetes-api http://localhost:8001."
            ) from error
        token = (settings.get_api_key_with_prefix("authorization") or "").removeprefix("Bearer ")
        return cls(settings.host.rstrip("/"), namespace, token, _context(settings), is_pod)

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object at a path; None if it does not exist.

        Raises:
            NotAnsweredError: See the class.
        """
        return self._request("GET", path)

    def create(self, path: str, body: Any) -> dict[str, Any]:
        """Create an object and return it. Raises NotAnsweredError."""
        created = self._request("POST", path, body)
        if created is None:
            raise NotAnsweredError(f"{path} does not exist")
        return created

    def _request(self, method: str, path: str, body: Any = None) -> dict[str, Any] | None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            response = call(method, self.address + path, body, headers=headers, timeout=TIMEOUT, context=self.context)
        except (OSError, InputError) as error:
            raise NotAnsweredError(f"no answer from {self.address}: {getattr(error, 'reason', error)}") from error
        if response.status == 404:
            return None
        if response.status >= 300 or not isinstance(response.body, dict):
            message = response.body.get("message", "") if isinstance(response.body, dict) else ""
            raise NotAnsweredError(f"{method} {path}: HTTP {response.status} {message}".rstrip())
        return response.body


def _kubeconfigs() -> list[Path]:
    names = str(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION).split(":")
    return [path for name in names if name and (path := Path(name).expanduser()).is_file()]


def _context(settings: client.Configuration) -> ssl.SSLContext | None:
    if not settings.host.startswith("https://"):
        return None
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    if not settings.verify_ssl:  # `insecure-skip-tls-verify` in the kubeconfig file
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context
