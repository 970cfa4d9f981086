"""The HTTP service over the releases of a folder."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving import ask
from serving.errors import RequestError, malformed
from serving.metrics import Metrics
from serving.online import Pool
from serving.page import PAGE, POLICY
from serving.releases import Watcher
from serving.served import Served

MAX_BODY = 1 << 20  # bytes
MAX_IN_FLIGHT = 512  # recommendations at a time; one more is refused, for it would only wait
MODELS = ("user_tower", "item_tower", "two_tower")

log = logging.getLogger(__name__)


def create_app(releases: str, feature_repo: Path | None = None) -> Starlette:
    """The application; a server starts and stops it through its lifespan."""
    metrics = Metrics()
    watcher = Watcher(releases, feature_repo, metrics, Pool())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        watcher.start()
        yield
        watcher.stop()

    service = _Service(watcher, metrics)
    routes = [
        Route("/", service.page),
        Route("/v1/recommend", service.recommend, methods=["POST"]),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.ready),
        Route("/v2/models/{name}/ready", service.model_ready),
        Route("/metrics", service.metrics),
    ]
    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(_Count, metrics=metrics, paths={route.path for route in routes})],
        exception_handlers={RequestError: _refuse, HTTPException: _refuse_http, Exception: _fault},
    )


class _Service:
    """The routes."""

    def __init__(self, watcher: Watcher, metrics: Metrics) -> None:
        self._watcher = watcher
        self._metrics = metrics
        self._in_flight = 0

    async def recommend(self, request: Request) -> Response:
        began = time.perf_counter()
        if self._in_flight >= MAX_IN_FLIGHT:
            raise _unavailable("overloaded", f"{MAX_IN_FLIGHT} requests are being answered.")
        self._in_flight += 1
        try:
            body = ask.parse(await _body(request))
            served = self._served()  # taken once: all of this request runs on this release
            answer = await served.answer(ask.read(body, served.recommender.contract, served.recommender.items))
        finally:
            self._in_flight -= 1
        self._metrics.answered(answer, time.perf_counter() - began)
        return JSONResponse(answer.to_dict())

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        self._served()
        return JSONResponse({"ready": True})

    async def model_ready(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in MODELS:
            raise RequestError(404, "not_found", f"There is no model {name[:100]!r}.", f"Models: {', '.join(MODELS)}.")
        self._served()
        return JSONResponse({"name": name, "ready": True})

    async def metrics(self, _: Request) -> Response:
        return Response(self._metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def page(self, _: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    def _served(self) -> Served:
        if self._watcher.served is None:
            raise _unavailable("not_ready", "No release serves yet.")
        return self._watcher.served


class _Count:
    """Counts each request by its route and its answer's status."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: set[str]) -> None:
        self._app = app
        self._requests = metrics.requests
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(self._route(scope), message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)

    def _route(self, scope: Scope) -> str:
        """A route's own path; clients must not be able to make up label values."""
        name = scope.get("path_params", {}).get("name")
        path = scope["path"] if name is None else scope["path"].replace(f"/{name}/", "/{name}/")
        return path if path in self._paths else "other"


async def _body(request: Request) -> bytes:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                hint = "Ask for one user at a time, and send only the newest elements of long lists."
                raise RequestError(413, "too_large", f"The body is larger than {MAX_BODY} bytes.", hint)
    except ClientDisconnect as error:
        raise malformed("The connection was closed before the body was complete.", "Send it again.") from error
    return bytes(body)


def _unavailable(code: str, message: str) -> RequestError:
    return RequestError(503, code, message, "Try again after the seconds that Retry-After says.", retry_after=1)


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(error.body(), error.status, headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "malformed")
    message = f"{request.method} {request.url.path[:100]}: {error.detail}."
    refusal = RequestError(error.status_code, code, message, "See GET / for what this service offers.")
    return JSONResponse(refusal.body(), error.status_code, error.headers)


async def _fault(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    fault = RequestError(500, "fault", "The service failed.", "It is our fault, not yours; its log says more.")
    return JSONResponse(fault.body(), fault.status)
