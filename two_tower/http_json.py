"""A small JSON client over HTTP, written with the standard library."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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
        OSError: If the server does not respond.
    """
    data = None if body is None else json.dumps(body).encode()
    all_headers = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, all_headers, method=method)  # noqa: S310 - settings validate addresses
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as response:  # noqa: S310
            status, content = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    return Response(status, _parsed(content), time.perf_counter() - start)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
