"""The few calls to a Kubernetes API server that a deployment needs, without its client library."""

import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from two_tower.errors import InputError
from two_tower.http_json import Response, call

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # where a pod finds its token, CA and namespace
ATTEMPTS = 4
PAUSE = 0.5  # seconds before the second attempt; doubles with each
_TRANSIENT = (429, 500, 502, 503, 504)
_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch", "DELETE": "delete"}


class KubernetesError(InputError):
    """The API server cannot be reached, or refused; the message says what to do."""


class Kubernetes:
    """An API server. Attribute namespace: the one asked for, else the pod's own."""

    def __init__(self, address: str, namespace: str, account: Path = ACCOUNT) -> None:
        """address: of the API server; empty for the cluster that this process runs in.

        Raises InputError where neither says which cluster or which namespace is meant.
        """
        self._address = (address or _own_address()).rstrip("/")
        self._account = account
        own = account / "namespace"
        self.namespace = namespace or (own.read_text().strip() if own.is_file() else "")
        if not self.namespace:
            raise InputError("no namespace is known outside of a cluster. Give it by --set namespace=NAME.")
        authority = account / "ca.crt"
        is_tls = self._address.startswith("https://")
        trusted = str(authority) if authority.is_file() else None
        self._context = ssl.create_default_context(cafile=trusted) if is_tls else None

    def get(self, path: str) -> dict[str, Any] | None:
        """The object at a path, None where there is none."""
        reply = self._call("GET", path)
        return None if reply.status == 404 else dict(self._accepted("GET", path, reply))

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._accepted("POST", path, self._call("POST", path, body)))

    def merge_patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields of an object (RFC 7386): a null removes a field, a list is replaced as a whole."""
        kind = {"Content-Type": "application/merge-patch+json"}
        return dict(self._accepted("PATCH", path, self._call("PATCH", path, body, kind)))

    def delete(self, path: str) -> None:
        """Delete an object; one that is not there is deleted already."""
        reply = self._call("DELETE", path)
        if reply.status != 404:
            self._accepted("DELETE", path, reply)

    def _call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """One answer, after waiting out what passes: an API server restarts in seconds."""
        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                reply = call(method, self._address + path, body, headers=self._headers(headers), context=self._context)
            except OSError as error:
                if last:
                    raise KubernetesError(
                        f"no Kubernetes API server answers at {self._address}: {error}. Check --set kubernetes_api and "
                        "whether a network policy lets this step reach it."
                    ) from error
            else:
                if last or reply.status not in _TRANSIENT:
                    return reply
            time.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _headers(self, headers: Mapping[str, str] | None) -> dict[str, str]:
        """The token is read each time, for the cluster replaces it every hour or so."""
        token = self._account / "token"
        authorization = {"Authorization": f"Bearer {token.read_text().strip()}"} if token.is_file() else {}
        return {**authorization, **(headers or {})}

    def _accepted(self, method: str, path: str, reply: Response) -> Any:
        if reply.status < 300:
            return reply.body
        said = reply.body.get("message", "") if isinstance(reply.body, dict) else str(reply.body)[:200]
        if reply.status == 401:
            step = "The token is expired or is not this cluster's: run the step again with a valid service account."
        elif reply.status == 403:
            step = f"Give the step's service account the verb {_VERBS[method]}: see deploy/kustomize/base/rbac.yaml."
        elif reply.status == 404:
            step = "Create the namespace, and install KServe: https://kserve.github.io/website."
        else:
            step = "Correct what it names, and run the step again."
        raise KubernetesError(f"{method} {path}: the cluster answered {reply.status}: {said} {step}")


def _own_address() -> str:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise InputError(
            "this process runs in no Kubernetes cluster. Give the API server's address by --set kubernetes_api=URL "
            "(`kubectl proxy` offers one), or deploy by --set deployer=local."
        )
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
