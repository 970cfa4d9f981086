"""The HTTP service over the releases of a folder."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from serving.engine.loaded_release import LoadedRelease, Opening
from serving.engine.release_manager import Watcher
from serving.engine.user_lookup import Pool
from serving.http import requests
from serving.http.admin import check_admin, check_items
from serving.http.middleware import LEAN, Edge, Headers
from serving.http.openapi import document
from serving.http.responses import HANDLERS, Json
from serving.observability.feature_log import FeatureLog
from serving.observability.metrics import Metrics
from serving.observability.tracing import Tracer, tracer
from serving.page.routes import Page
from serving.workers.collector import spare_libraries, walk_all
from serving.workers.worker_group import Alone
from two_tower.recommender.errors import invalid, unavailable
from two_tower.runtime import Device

ITEMS_WITHIN = 5.0  # seconds that who sends items waits for the other workers to have them


def create_app(
    releases: str,
    feature_repo: Path | None = None,
    device: Device = "cpu",
    grpc_address: str | None = None,
    release: str | None = None,
    page: bool = True,
    feature_log: tuple[Path, float] | None = None,
    team: Alone | None = None,
) -> Edge:
    """The application; a server starts and stops it through its lifespan, and with it the gRPC server, if any.

    release: the one to serve whatever the pointer says; None follows the pointer. page: whether there is the page at
    `/`, whose calls show users to whoever can reach the service. feature_log: folder for a sample of the features that
    requests were answered with, and which share of them. team: the workers that this process is one of.
    """
    from serving.http import oip, oip_grpc

    team = team or Alone()
    metrics = Metrics(team)
    log = FeatureLog(*feature_log, metrics) if feature_log else None
    watcher = Watcher(
        Opening(
            releases=releases,
            feature_repo=feature_repo,
            pool=Pool(),
            metrics=metrics,
            device=device,
            pinned=release,
            log=log,
            worker_group=team,
        )
    )
    service = Service(watcher, metrics)
    plane = oip.data_plane(service.served)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await asyncio.to_thread(spare_libraries)
        await asyncio.to_thread(watcher.start)
        service.tracer = tracer()
        if log:
            log.start()
        server = await oip_grpc.grpc_server(plane, grpc_address) if grpc_address else None
        team.started()
        yield
        if server:
            await server.stop(grace=5)
        watcher.stop()
        if log:
            await asyncio.to_thread(log.stop)
        if service.tracer:
            service.tracer.stop()
        walk_all()

    own = [*(Page(service.served, watcher.listed).routes() if page else ()), *_routes(service)]
    app = Starlette(routes=[*own, *oip.routes(plane)], lifespan=lifespan, exception_handlers=HANDLERS)
    paths = {route.path for route in own}

    def route_of(scope: Scope) -> str:
        """A route's own path; clients must not be able to make up label values."""
        path: str = scope["path"]
        return path if path in paths else oip.route_of(path)

    return Edge(app, service.recommend, metrics, route_of)


def _routes(service: "Service") -> list[Route]:
    """All but the protocol's and the page's."""
    return [
        Route("/openapi.json", service.openapi),
        Route(LEAN, service.recommend_slowly, methods=["POST"]),
        Route("/v1/similar", service.similar, methods=["POST"]),
        Route("/v1/items", service.items, methods=["POST"]),
        Route("/admin/activate", service.activate, methods=["POST"]),
        Route("/admin/rollback", service.rollback, methods=["POST"]),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.ready),
        Route("/metrics", service.metrics),
    ]


class Service:
    """The routes, and what they need of the service's state."""

    def __init__(self, watcher: Watcher, metrics: Metrics) -> None:
        self.tracer: Tracer | None = None
        self._watcher = watcher
        self._metrics = metrics

    async def recommend(self, body: bytes, headers: Headers) -> bytes:
        """The lean route: a body in, an answer's JSON out."""
        began = time.perf_counter()
        value = requests.parse(body)
        served = self.served()  # taken once: all of this request runs on this release
        body_read = requests.read(value, served.ranker.contract, served.ranker.size)
        response = await served.recommend(body_read.request, explain=body_read.explain)
        seconds = {**response.seconds, "total": time.perf_counter() - began}
        self._metrics.answered(seconds, response.fallback)
        if self.tracer:
            attributes = {"two_tower.release": response.release, "two_tower.fallback": response.fallback}
            self.tracer.record("recommend", _texts(headers), seconds, attributes)
        content = response.to_dict()
        return orjson.dumps(content | {"seconds": seconds} if body_read.timings else content)

    async def recommend_slowly(self, request: Request) -> Response:
        """The same as a route like any other, for a path that is not written as the lean one is."""
        return Response(await self.recommend(await request.body(), {}), media_type="application/json")

    async def similar(self, request: Request) -> Response:
        value = requests.parse(await request.body())
        served = self.served()
        answer = await served.similar(requests.read_similar(value, served.ranker.contract, served.ranker.size))
        return Json(answer.to_dict())

    async def items(self, request: Request) -> Response:
        check_items(request.headers.get("authorization"))
        value = requests.parse(await request.body())
        served = self.served()
        items = requests.read_items(value, served.ranker.contract)
        held = await asyncio.to_thread(self._upsert, served, items)
        return Json({"upserted": len(items), "side_items": held, "release": served.ranker.release})

    def _upsert(self, served: LoadedRelease, items: Mapping[str | int, Mapping[str, Any]]) -> int:
        held = served.ranker.side_index.upsert(items, time.time())
        self._watcher.tell(ITEMS_WITHIN)
        return held

    async def activate(self, request: Request) -> Response:
        check_admin(request.headers.get("authorization"))
        release = requests.parse(await request.body()).get("release")
        if not isinstance(release, str):
            raise invalid(f"release is {release!r:.60}.", "It is the id of a release.")
        return Json({"release": await asyncio.to_thread(self._watcher.activate, release)})

    async def rollback(self, request: Request) -> Response:
        check_admin(request.headers.get("authorization"))
        return Json({"release": await asyncio.to_thread(self._watcher.rollback)})

    async def live(self, _: Request) -> Response:
        return Json({"live": True})

    async def ready(self, _: Request) -> Response:
        ranker = self.served().ranker
        return Json({"ready": True, "release": ranker.release, "provider": ranker.user_tower.provider})

    async def metrics(self, _: Request) -> Response:
        return Response(await asyncio.to_thread(self._metrics.text), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def openapi(self, _: Request) -> Response:
        return Json(document())

    def served(self) -> LoadedRelease:
        """What serves now. Raises RequestError 503 without a release."""
        if self._watcher.served is None:
            raise unavailable("not_ready", "No release serves yet.")
        return self._watcher.served


def _texts(headers: Headers) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
