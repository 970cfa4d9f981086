"""Limits of connections before a request reaches the application: number, bytes of the head, seconds until it is whole.

uvicorn bounds none of them with httptools, so its protocol class is extended.
"""

import asyncio
import resource
import time
from typing import Any

import orjson
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from two_tower.recommender.errors import RequestError, malformed, unavailable

MAX_HEAD = 32 << 10  # bytes of the request line and the headers
MAX_FRAMING = 256 << 10  # bytes of a request without its body: head, chunk sizes and trailers
MAX_CONNECTIONS = 2000  # of one process
WHOLE_WITHIN = 15.0  # seconds until a request is whole, from the connection or from its first byte
IDLE_WITHIN = 5  # seconds that a connection stays open between two requests
READ_WITHIN = 30.0  # seconds that a client may take to read the rest of a response on an idle connection


def config(app: ASGIApp, grace: int, connections: int | None = None) -> uvicorn.Config:
    """The configuration of the HTTP server.

    Args:
        app: the application.
        grace: seconds that requests have to finish when the server stops.
        connections: largest number of connections. Default: MAX_CONNECTIONS, and at most three quarters of the files
            that the process may open.
    """
    most = connections or min(MAX_CONNECTIONS, 3 * resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    return uvicorn.Config(
        app,
        http=type("Protocol", (BoundedProtocol,), {"max_connections": most}),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=IDLE_WITHIN,
        timeout_graceful_shutdown=grace,
    )


class BoundedProtocol(HttpToolsProtocol):
    """One connection. A request that arrives in one piece, as nearly all do, starts no timer."""

    max_connections = MAX_CONNECTIONS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._since = time.monotonic()
        self._framing = 0  # bytes of the request so far, without its body
        self._in_head = True
        self._partial = False  # whether a part of a request has arrived
        self._refusal: RequestError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._make_room()
        self._timer = self.loop.call_later(WHOLE_WITHIN, self._too_slow)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._framing += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._framing > (MAX_HEAD if self._in_head else MAX_FRAMING):
            self._refuse(_too_large())
        elif not self._partial:
            self._stop_timer()
        elif self._timer is None:
            self._timer = self.loop.call_later(WHOLE_WITHIN, self._too_slow)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._partial = True

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._framing > MAX_HEAD and self._head_bytes() > MAX_HEAD:  # else a part of the body came with the head
            self._refusal = _too_large()
            raise self._refusal  # the parser stops, and uvicorn calls send_400_response
        super().on_headers_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        self._framing -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._partial, self._in_head, self._framing = False, True, 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or malformed(msg, "Send HTTP/1.1."))

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        if self.transport.get_write_buffer_size():
            self.loop.call_later(READ_WITHIN, self.transport.abort)

    def _idle(self) -> bool:
        return not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete)

    def _too_slow(self) -> None:
        self._timer = None
        if self._partial and self._in_head:
            message = f"The request was not complete after {WHOLE_WITHIN:.0f} s."
            self._refuse(RequestError(408, "too_slow", message, "Send it faster."))
        elif not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _make_room(self) -> None:
        """Close an idle connection, first the oldest without any request. If there is none, refuse this one."""
        others = [one for one in self.connections if isinstance(one, BoundedProtocol) and one is not self]
        idle = [one for one in others if one._idle()]
        if idle:
            min(idle, key=lambda one: (one.cycle is not None, one._since)).transport.abort()
        else:
            self._refuse(unavailable("overloaded", f"{self.max_connections} connections are open."))

    def _refuse(self, error: RequestError) -> None:
        """Respond without the application, unless it responds to an earlier request, and close the connection."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            body = orjson.dumps(error.body())
            lines = [b"content-type: application/json", b"content-length: %d" % len(body), b"connection: close"]
            if error.retry_after:
                lines.append(b"retry-after: %d" % error.retry_after)
            self.transport.write(STATUS_LINE[error.status] + b"\r\n".join([*lines, b"", body]))
        self.transport.close()


def _too_large() -> RequestError:
    return RequestError(
        431, "too_large", f"The headers are larger than {MAX_HEAD} bytes.", "Send the data in the body."
    )
