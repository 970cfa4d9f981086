"""A small JSON client over HTTP, written with the standard library."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import IO, Any

from two_tower.errors import InputError


class NotAnApiError(InputError):
    """An address answers with a redirect or a web page, such as a login page, where an API is expected."""


@dataclass(frozen=True)
class Response:
    """A response with any status code.

    Attributes:
        status: The HTTP status code.
        body: The JSON value of the body, or its text if the body is not JSON.
        seconds: The time from the start of the request to the end of the body.
    """

    status: int
    body: Any
    seconds: float


def call(
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout: float = 10.0,
    context: ssl.SSLContext | None = None,
) -> Response:
    """Send a request and return the response, also for an error status.

    A redirect is not followed, because its target would receive the token of the request.

    Args:
        method: The HTTP method.
        url: The address, http or https.
        body: A JSON value for the body of the request. None: no body.
        headers: Headers to send; they replace the default JSON headers of the same name.
        timeout: Seconds without data from the server before the call fails.
        context: TLS settings. None: the defaults of Python.

    Returns:
        The response.

    Raises:
        NotAnApiError: If the server answers with a redirect, or with a web page and no error status.
        OSError: If the server does not respond.
    """
    data = None if body is None else json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, all_headers, method=method)  # noqa: S310 - settings validate addresses
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.HTTPSHandler(context=context))
    start = time.perf_counter()
    try:
        with opener.open(request, timeout=timeout) as response:
            status, content, kind = response.status, response.read(), response.headers.get_content_type()
    except urllib.error.HTTPError as error:
        with error:
            status, content, kind = error.code, error.read(), ""
    seconds, body = time.perf_counter() - start, _parsed(content)
    if kind == "text/html" and isinstance(body, str):  # Express sends JSON as text/html, too
        raise NotAnApiError(
            f"{url} answers with a web page, perhaps a login page, and not with the data of an API. Check the address, "
            "and the token if the server requires one."
        )
    return Response(status, body, seconds)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses each redirect. The base class would send the Authorization header to another host too."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],  # noqa: ARG002 - the signature of the base class
        code: int,
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,
    ) -> None:
        raise NotAnApiError(
            f"{req.full_url} redirects to {newurl.partition('?')[0]} (HTTP {code}), which is not followed: the target "
            "would receive the token. If it is a login page, pass a valid token, or an address behind the login. Else "
            "pass the new address."
        )


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
