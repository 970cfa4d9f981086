"""Who may call the service: bearer tokens for the calls that change it, and the web pages that may call it at all."""

import hmac
import logging
import os
import re
from collections.abc import Mapping
from functools import lru_cache

from starlette.requests import Request

from serving.observability.metrics import Metrics
from two_tower.recommender.errors import RequestError, not_found

ADMIN_TOKEN = "TWO_TOWER_ADMIN_TOKEN"  # noqa: S105 - a variable's name. Without a token /admin/* is off
ITEMS_TOKEN = "TWO_TOWER_ITEMS_TOKEN"  # noqa: S105 - a variable's name. Without a token only this machine may upsert
_LOCAL_HOST = re.compile(rb"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)

log = logging.getLogger(__name__)


def token(variable: str) -> str:
    """The token in an environment variable, without white space around it; empty if there is none."""
    return os.environ.get(variable, "").strip()


class Access:
    """Decides which calls may change the service.

    Args:
        local: whether only this machine can reach the service.
        metrics: where refused tokens are counted.
    """

    def __init__(self, local: bool, metrics: Metrics) -> None:
        self._local = local
        self._metrics = metrics

    def check_admin(self, request: Request) -> None:
        """Check a call that changes the active release.

        Raises:
            RequestError: 404 if no admin token is configured, 401 if the request has a wrong one or none, 415 if its
                body is not declared as JSON.
        """
        self._check(request, ADMIN_TOKEN, "Admin calls are off.")

    def check_items(self, request: Request) -> None:
        """Check a call that changes items. Without a token it is allowed if only this machine can reach the service.

        Raises:
            RequestError: 404 if no token is configured and others can reach the service, 401 if the request has a wrong
                one or none, 415 if its body is not declared as JSON.
        """
        if self._local and not token(ITEMS_TOKEN):
            _check_json(request)
        else:
            self._check(request, ITEMS_TOKEN, "Calls that change items are off.")

    def _check(self, request: Request, variable: str, off: str) -> None:
        expected = token(variable)
        if not expected:
            raise not_found(off, f"Start the service with a token in {variable}.")
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        same = hmac.compare_digest(sent.strip().encode("latin-1"), expected.encode())  # in constant time
        if scheme.lower() != "bearer" or not same:
            self._metrics.tokens_refused.inc()
            log.warning("%s from %s has no valid token", request.scope["path"][:60], caller(request))
            raise RequestError(
                401, "unauthorized", "The bearer token is wrong or absent.", "Send Authorization: Bearer …."
            )
        _check_json(request)


def caller(request: Request) -> str:
    """The address of the client, or of the proxy in front of it."""
    return request.client.host if request.client else "unknown"


def _check_json(request: Request) -> None:
    """Refuse a body that is not declared as JSON: web pages may send other types to any site without its consent."""
    headers = request.headers
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if media_type != "application/json" and (media_type or has_body):
        raise RequestError(
            415, "unsupported_media_type", f"Content-Type is {media_type[:60]!r}.", "Send application/json."
        )


def check_page(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a request to a service of this machine alone that a web page of another site may have sent.

    Raises:
        RequestError: 403 if Host is not a name of this machine (DNS rebinding), or Origin is another site.
    """
    host, origin = headers.get(b"host", b""), headers.get(b"origin")
    if not _is_local(host):
        raise _forbidden("Host", host, "Call it as localhost or 127.0.0.1, or start it with another --host.")
    if origin is not None and origin.partition(b"://")[2] != host:
        raise _forbidden("Origin", origin, "Pages of other sites may not call a service of this machine.")


@lru_cache(256)
def _is_local(host: bytes) -> bool:
    return _LOCAL_HOST.fullmatch(host) is not None


def _forbidden(header: str, value: bytes, hint: str) -> RequestError:
    return RequestError(403, "forbidden", f"{header} is {value.decode('latin-1')[:60]!r}.", hint)
