"""JSON responses of all routes except the fast path, and errors in the common format."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from two_tower.recommender.errors import RequestError

log = logging.getLogger(__name__)


class Json(Response):
    """JSON by orjson, which is many times as fast as the standard library."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


async def refuse(_: Request, error: Exception) -> Response:
    """Respond to a RequestError."""
    assert isinstance(error, RequestError)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return Json(error.body(), error.status, headers)


async def refuse_http(request: Request, error: Exception) -> Response:
    """Respond to an error of routing."""
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "malformed")
    message = f"{request.method} {request.url.path[:100]}: {error.detail}."
    refusal = RequestError(error.status_code, code, message, "See /openapi.json for the calls of this service.")
    return Json(refusal.body(), error.status_code, error.headers)


async def fault(request: Request, error: Exception) -> Response:
    """Log an unexpected exception and respond with 500."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    failure = RequestError(
        500, "fault", "The service failed.", "The request did not cause this error. See the log of the service."
    )
    return Json(failure.body(), failure.status)


HANDLERS: Mapping[Any, Callable[..., Any]] = {RequestError: refuse, HTTPException: refuse_http, Exception: fault}
