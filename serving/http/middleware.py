"""Middleware of all requests, and the fast path to a recommendation.

Plain ASGI: a framework's request, router and response would cost as much as the recommendation itself.
"""

import asyncio
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.access import check_page
from serving.observability.logs import REQUEST_ID, request_id
from serving.observability.metrics import Metrics
from two_tower.recommender.errors import RequestError, malformed, unavailable

MAX_BODY = 1 << 20  # bytes of a request of the /v1 API
MAX_TENSORS = 4 << 20  # bytes of a request of the Open Inference Protocol
MAX_BODIES = 128 << 20  # bytes of all bodies in hand, whole or not
MAX_IN_FLIGHT = 512  # requests at a time; one more would only wait, and is refused
ENCODINGS = {b"gzip": zlib.MAX_WBITS | 16, b"x-gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}  # zlib's wbits
BODY_WITHIN = 10.0  # seconds that a client may take to send its body
BODILESS = ("GET", "HEAD", "OPTIONS")
FAST_PATH = "/v1/recommend"
REQUEST_ID_HEADER = b"x-request-id"

Headers = Mapping[bytes, bytes]
FastHandler = Callable[[bytes, Headers], Awaitable[bytes]]

log = logging.getLogger(__name__)


class Middleware:
    """Gives each request an id, counts it, reads its body within limits, and refuses requests under overload.

    Args:
        app: the application for all other paths.
        fast: answers FAST_PATH: body and headers in, JSON out.
        metrics: where requests are counted.
        route_of: the route of a request, as the label of its metrics.
        local: whether only this machine can reach the service. Then pages of other sites may not call it.
    """

    def __init__(
        self,
        app: ASGIApp,
        fast: FastHandler,
        metrics: Metrics,
        route_of: Callable[[Scope], str],
        local: bool = False,
    ) -> None:
        self._app = app
        self._fast = fast
        self._metrics = metrics
        self._route_of = route_of
        self._local = local
        self._in_flight = 0
        self._bodies = 0  # bytes of all bodies in hand
        self._counters: dict[tuple[str, int], Any] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers: Headers = dict(scope["headers"])
        current_id = request_id(headers.get(REQUEST_ID_HEADER))
        REQUEST_ID.set(current_id)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), (REQUEST_ID_HEADER, current_id.encode())]
                self._count(scope, message["status"])
            await send(message)

        held = 0

        def hold(size: int) -> None:
            nonlocal held
            if self._bodies + size > MAX_BODIES:
                self._metrics.shed.inc()
                raise unavailable("overloaded", f"The bodies of other requests have {self._bodies} bytes.")
            held += size
            self._bodies += size

        try:
            if self._local:
                check_page(headers)
            if scope["method"] in BODILESS:
                await self._app(scope, receive, counted)
                return
            body = await _body(scope["path"], headers, receive, hold)
            if self._in_flight >= MAX_IN_FLIGHT:
                self._metrics.shed.inc()
                raise unavailable("overloaded", f"{MAX_IN_FLIGHT} requests are in flight.")
            await self._admitted(scope, body, headers, receive, counted)
        except RequestError as error:
            await refuse(error, counted)
        finally:
            self._bodies -= held

    async def _admitted(self, scope: Scope, body: bytes, headers: Headers, receive: Receive, send: Send) -> None:
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            if scope["path"] == FAST_PATH and scope["method"] == "POST":
                await self._recommend(body, headers, send)
            else:
                await self._app(scope, _again(body, receive), send)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)

    async def _recommend(self, body: bytes, headers: Headers, send: Send) -> None:
        try:
            content = await self._fast(body, headers)
        except RequestError:
            raise
        except Exception:
            log.exception("POST %s failed", FAST_PATH)
            raise RequestError(
                500, "fault", "The service failed.", "The request did not cause this error. See the log of the service."
            ) from None
        await respond(200, content, send)

    def _count(self, scope: Scope, status: int) -> None:
        route = self._route_of(scope)
        counter = self._counters.get((route, status))
        if counter is None:
            counter = self._counters[route, status] = self._metrics.requests.labels(route, status)
        counter.inc()
        if status >= 400:
            fields = {"route": route, "status": status, "method": scope["method"]}
            log.info("refused" if status < 500 else "failed", extra={"fields": fields})


async def respond(status: int, body: bytes, send: Send, *more: tuple[bytes, bytes]) -> None:
    """Send a JSON response. more: further headers."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse(error: RequestError, send: Send) -> None:
    """Send an error as JSON."""
    more = [(b"retry-after", str(error.retry_after).encode())] if error.retry_after else []
    await respond(error.status, orjson.dumps(error.body()), send, *more)


async def _body(path: str, headers: Headers, receive: Receive, hold: Callable[[int], None]) -> bytes:
    most = MAX_TENSORS if path.startswith("/v2/") else MAX_BODY
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    try:
        async with asyncio.timeout(BODY_WITHIN):
            body = await _read(most, receive, hold)
            return _decoded(body, headers.get(b"content-encoding", b""), most, hold)
    except TimeoutError as error:
        raise malformed(f"The body was not complete after {BODY_WITHIN:.0f} s.", "Send it faster.") from error


async def _read(most: int, receive: Receive, hold: Callable[[int], None]) -> bytes:
    """The body. hold: called with the size of each part; raises RequestError if all bodies are too large."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):  # nearly always
        whole: bytes = message.get("body", b"")
        if len(whole) > most:
            raise _too_large(most)
        hold(len(whole))
        return whole
    body = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise malformed("The connection was closed before the body was complete.", "Send it again.")
        part = message.get("body", b"")
        if len(body) + len(part) > most:
            raise _too_large(most)
        hold(len(part))
        body += part
        if not message.get("more_body"):
            return bytes(body)
        message = await receive()


def _decoded(body: bytes, encoding: bytes, most: int, hold: Callable[[int], None]) -> bytes:
    """Decompress a body, if it has a Content-Encoding, to at most `most` bytes."""
    encoding = encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in ENCODINGS:
        name = encoding.decode("latin-1")[:60]
        hint = "Allowed: gzip, deflate. Or send the body without Content-Encoding."
        raise RequestError(415, "unsupported_encoding", f"Content-Encoding is {name!r}.", hint)
    decompress = zlib.decompressobj(ENCODINGS[encoding])
    try:
        decoded = decompress.decompress(body, most + 1)
    except zlib.error as error:
        raise _undecodable(encoding, str(error)) from error
    if len(decoded) > most:
        raise _too_large(most)
    hold(len(decoded))
    if not decompress.eof or decompress.unused_data:
        raise _undecodable(encoding, "it is not one complete compressed stream")
    return decoded


def _undecodable(encoding: bytes, reason: str) -> RequestError:
    hint = "Compress the body as Content-Encoding says, or leave the header out."
    return malformed(f"The body is not {encoding.decode()}: {reason[:100]}.", hint)


def _too_large(most: int) -> RequestError:
    hint = "Send fewer items at a time, and only the newest elements of long lists."
    return RequestError(413, "too_large", f"The body is larger than {most} bytes.", hint)


def _again(body: bytes, receive: Receive) -> Receive:
    """A receive channel that returns a body that has been read already."""
    sent = False

    async def first_the_body() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return first_the_body
