"""The outer edge of the service: what every request passes, and the lean way to a recommendation.

Plain ASGI: a framework's request, router and response would cost as much as the recommendation itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.observability.logs import REQUEST_ID, request_id
from serving.observability.metrics import Metrics
from two_tower.recommender.errors import RequestError, malformed, unavailable

MAX_BODY = 1 << 20  # bytes of a request of our own API
MAX_TENSORS = 4 << 20  # bytes of a request of the Open Inference Protocol
MAX_IN_FLIGHT = 512  # requests at a time; one more is refused, for it would only wait
BODY_WITHIN = 10.0  # seconds that a client may take to send its body
LEAN = "/v1/recommend"
REQUEST_ID_HEADER = b"x-request-id"

Headers = Mapping[bytes, bytes]
Lean = Callable[[bytes, Headers], Awaitable[bytes]]

log = logging.getLogger(__name__)


class Edge:
    """Gives each request an id, counts it, reads its body within limits, and sheds load before it piles up."""

    def __init__(self, app: ASGIApp, lean: Lean, metrics: Metrics, route_of: Callable[[Scope], str]) -> None:
        self._app = app
        self._lean = lean
        self._metrics = metrics
        self._route_of = route_of
        self._in_flight = 0
        self._counters: dict[tuple[str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        asked = request_id(headers.get(REQUEST_ID_HEADER))
        REQUEST_ID.set(asked)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, asked.encode())]
                self._count(scope, message["status"])
            await send(message)

        if scope["method"] != "POST":
            await self._app(scope, receive, counted)
            return
        try:
            body = await _body(scope["path"], headers, receive)
            if self._in_flight >= MAX_IN_FLIGHT:
                self._metrics.shed.inc()
                raise unavailable("overloaded", f"{MAX_IN_FLIGHT} requests are being answered.")
            await self._admitted(scope, body, headers, receive, counted)
        except RequestError as error:
            await refuse(error, counted)

    async def _admitted(self, scope: Scope, body: bytes, headers: Headers, receive: Receive, send: Send) -> None:
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            if scope["path"] == LEAN:
                await self._recommend(body, headers, send)
            else:
                await self._app(scope, _again(body, receive), send)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def _recommend(self, body: bytes, headers: Headers, send: Send) -> None:
        try:
            answer = await self._lean(body, headers)
        except RequestError:
            raise
        except Exception:
            log.exception("POST %s failed", LEAN)
            raise RequestError(
                500, "fault", "The service failed.", "It is our fault, not yours; its log says more."
            ) from None
        await respond(200, answer, send)

    def _count(self, scope: Scope, status: int) -> None:
        route = self._route_of(scope)
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._metrics.requests.labels(route, status)
        counter.inc()
        if status >= 400:
            said = {"fields": {"route": route, "status": status, "method": scope["method"]}}
            log.info("refused" if status < 500 else "failed", extra=said)


async def respond(status: int, body: bytes, send: Send, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(error: RequestError, send: Send) -> None:
    more = [(b"retry-after", str(error.retry_after).encode())] if error.retry_after else []
    await respond(error.status, orjson.dumps(error.body()), send, *more)


async def _body(path: str, headers: Headers, receive: Receive) -> bytes:
    most = MAX_TENSORS if path.startswith("/v2/") else MAX_BODY
    said = headers.get(b"content-length", b"0")
    if said.isdigit() and int(said) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_WITHIN):
            return await _read(most, receive)
    except TimeoutError as error:
        raise malformed(f"The body was not complete after {BODY_WITHIN:.0f} s.", "Send it faster.") from error


async def _read(most: int, receive: Receive) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # nearly always
        whole: bytes = message.get("body", b"")
        if len(whole) > most:
            raise _too_large(most)
        return whole
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise malformed("The connection was closed before the body was complete.", "Send it again.")
        body += message.get("body", b"")
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _too_large(most: int) -> RequestError:
    hint = "Ask for less at a time, and send only the newest elements of long lists."
    return RequestError(413, "too_large", f"The body is larger than {most} bytes.", hint)


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, once more."""
    given = False

    async def first_the_body() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first_the_body
