"""A small client of the Kubernetes API, without the official library."""

import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from two_tower.errors import InputError
from two_tower.http_json import Response, call

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # holds a pod's token, CA certificate and namespace
ATTEMPTS = 4
FIRST_PAUSE = 0.5  # seconds before the second attempt; each further pause is twice as long
_TRANSIENT = (429, 500, 502, 503, 504)
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


class KubernetesError(InputError):
    """The API server cannot be reached, or it refused the call. The message names the next step."""


class Kubernetes:
    """A client of one API server and one namespace.

    Args:
        address: Address of the API server; empty for the cluster that this process runs in.
        namespace: Namespace of the objects; empty for the namespace of the pod.
        account: Folder of the service account's token, CA certificate and namespace.

    Attributes:
        namespace: Namespace of the objects.

    Raises:
        InputError: The cluster or the namespace is not known.
    """

    def __init__(self, address: str, namespace: str, account: Path = ACCOUNT) -> None:
        self._is_own = not address
        self._address = (address or _own_address()).rstrip("/")
        self._account = account
        own = account / "namespace"
        self.namespace = namespace or (own.read_text().strip() if own.is_file() else "")
        if not self.namespace:
            raise InputError("outside of a cluster there is no default namespace. Set it with --set namespace=NAME.")
        authority = account / "ca.crt"
        is_tls = self._address.startswith("https://")
        trusted = str(authority) if authority.is_file() else None
        self._context = ssl.create_default_context(cafile=trusted) if is_tls else None

    def path(self, group: str, plural: str) -> str:
        """Return the path of a collection of this namespace, such as `deployments` of the group `apps/v1`."""
        root = "/api/v1" if group == "v1" else f"/apis/{group}"
        return f"{root}/namespaces/{self.namespace}/{plural}"

    def service_address(self, service: str) -> str:
        """Return the address of a Service at port 80: its name in the cluster, outside the API server's proxy."""
        if self._is_own:
            return f"http://{service}.{self.namespace}.svc"
        return f"{self._address}{self.path('v1', 'services')}/{service}:80/proxy"

    def get(self, path: str) -> dict[str, Any] | None:
        """Return the object at a path; None if it does not exist."""
        response = self._call("GET", path)
        return None if response.status == 404 else dict(self._body("GET", path, response))

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in the collection at a path, and return it.

        An object that exists is returned unchanged: the response of an earlier attempt was lost.
        """
        response = self._call("POST", path, body)
        if response.status == 409:
            existing = self.get(f"{path}/{body['metadata']['name']}")
            if existing is not None:
                return existing
        return dict(self._body("POST", path, response))

    def merge_patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change fields of an object (RFC 7386): a null removes a field, a list is replaced as a whole."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return dict(self._body("PATCH", path, self._call("PATCH", path, body, headers)))

    def delete(self, path: str) -> None:
        """Delete an object, if it exists."""
        response = self._call("DELETE", path)
        if response.status != 404:
            self._body("DELETE", path, response)

    def _call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Send a request; retry after transient errors, since an API server restarts in seconds."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                response = call(
                    method, self._address + path, body, headers=self._headers(headers), context=self._context
                )
            except OSError as error:
                if last:
                    raise KubernetesError(
                        f"no Kubernetes API server responds at {self._address}: {error}. Check --set kubernetes_api, "
                        "and whether a network policy allows the connection."
                    ) from error
            else:
                if last or response.status not in _TRANSIENT:
                    return response
            time.sleep(FIRST_PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        """Read the token each time, since the cluster replaces it about every hour."""
        token = self._account / "token"
        authorization = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.is_file() else {}
        return {**authorization, **(headers or {})}

    def _body(self, method: str, path: str, response: Response) -> Any:
        """The body of a successful response. Raises KubernetesError for any other."""
        if response.status < 300:
            return response.body
        message = response.body.get("message", "") if isinstance(response.body, dict) else str(response.body)[:200]
        if response.status == 401:
            step = "The token is expired or belongs to another cluster. Use a valid service account."
        elif response.status == 403 and "admission webhook" not in message:  # a webhook that denies answers 403 too
            step = f"Give the step's service account the verb {_VERBS[method]}: see the role.yaml in deploy/kustomize."
        elif response.status == 404:
            step = (
                "Create the namespace. For the deployer kserve, install KServe (https://kserve.github.io/website), or "
                "deploy without it: --set deployer=kubernetes."
            )
        else:
            step = "Correct the cause, and run the step again."
        raise KubernetesError(f"{method} {path}: the cluster answered {response.status}: {message} {step}")


def _own_address() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InputError(
            "this process does not run in a Kubernetes cluster. Set the address of the API server with --set "
            "kubernetes_api=URL (`kubectl proxy` offers one), or deploy with --set deployer=local."
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
