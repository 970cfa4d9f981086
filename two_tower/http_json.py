"""JSON over HTTP with the standard library: what the deploy step needs to speak with a cluster and a service."""

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Reply:
    """An answer of any status. body: the JSON value, or the text where it is none. seconds: until it was read."""

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
) -> Reply:
    """Send a request and read its answer, whatever its status.

    timeout: seconds that it may stay silent. Raises OSError where there is no answer.
    """
    data = None if body is None else json.dumps(body).encode()
    given = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, given, method=method)  # noqa: S310 - addresses are checked as settings
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:  # noqa: S310
            status, content = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    return Reply(status, _parsed(content), time.perf_counter() - began)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
