"""The HTTP service over the releases of a folder."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from serving.engine.loaded_release import LoadedRelease, LoadOptions
from serving.engine.release_manager import SWITCH_WITHIN, ReleaseManager
from serving.engine.storage_calls import StorageCalls
from serving.engine.user_lookup import Pool
from serving.http import requests
from serving.http.access import Access, caller
from serving.http.middleware import FAST_PATH, Headers, Middleware
from serving.http.openapi import document
from serving.http.responses import HANDLERS, Json
from serving.observability.feature_log import FeatureLog, LogOptions
from serving.observability.metrics import Metrics
from serving.observability.tracing import Tracer, tracer
from serving.page.routes import Page
from serving.workers.collector import unfreeze
from serving.workers.worker_group import SingleWorker
from two_tower.recommender.errors import invalid, unavailable
from two_tower.recommender.side_index import KEEP_SECONDS
from two_tower.runtime import Device

ITEM = "/v1/items/{item_id}"  # route of one item; its id may hold any character
GRPC_GRACE = 2.0  # seconds that gRPC calls have to finish after SIGTERM
ITEMS_WITHIN = 5.0  # seconds that an upsert waits for the other workers to read it
STORED_WITHIN = 15.0  # seconds that a change of items may take
ACTIVATED_WITHIN = 2 * SWITCH_WITHIN  # seconds that an activation may take, in this worker and in the others

logger = logging.getLogger(__name__)


def create_app(
    releases: str,
    feature_repo: Path | None = None,
    device: Device = "cpu",
    grpc_address: str | None = None,
    release: str | None = None,
    page: bool = True,
    feature_log: LogOptions | None = None,
    worker_group: SingleWorker | None = None,
    items_keep: float = KEEP_SECONDS,
    local: bool = False,
) -> Middleware:
    """Create the ASGI application. Its lifespan starts and stops the gRPC server too.

    Args:
        releases: folder or URL of the releases.
        feature_repo: Feast repository for look-ups of users. Default: the release's own.
        device: device of the towers and the index.
        grpc_address: address of the gRPC server; None: no gRPC server.
        release: id of the release to serve. Default: the active one.
        page: serve the page at `/`, whose calls show users to everyone who can reach the service.
        feature_log: where to write a sample of the features of requests.
        worker_group: the workers that this process is one of.
        items_keep: seconds after its last upsert until an item expires.
        local: whether only this machine can reach the service. Then items may be changed without a token, and web pages
            of other sites are refused.
    """
    from serving.http import oip, oip_grpc

    worker_group = worker_group or SingleWorker()
    metrics = Metrics(worker_group)
    log = FeatureLog(feature_log, metrics) if feature_log else None
    manager = ReleaseManager(
        LoadOptions(
            releases=releases,
            feature_repo=feature_repo,
            pool=Pool(),
            metrics=metrics,
            device=device,
            pinned=release,
            log=log,
            worker_group=worker_group,
        )
    )
    service = Service(manager, metrics, Access(local, metrics), worker_group, items_keep)
    plane = oip.data_plane(service.loaded)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.tracer = tracer()
        manager.start()
        if worker_group.replaces:  # the others answer meanwhile
            await asyncio.to_thread(manager.opened.wait)
        if log:
            log.start()
        server = await oip_grpc.grpc_server(plane, grpc_address) if grpc_address else None
        yield
        if server:
            await server.stop(grace=GRPC_GRACE)
        manager.stop()
        if log:
            await asyncio.to_thread(log.stop)
        if service.tracer:
            service.tracer.stop()
        unfreeze()

    own_routes = [*(Page(service.loaded, manager.listed).routes() if page else ()), *_routes(service)]
    app = Starlette(routes=[*own_routes, *oip.routes(plane)], lifespan=lifespan, exception_handlers=HANDLERS)
    paths = {route.path for route in own_routes}

    def route_of(scope: Scope) -> str:
        """The path of the route: clients must not choose the label values of metrics."""
        path: str = scope["path"]
        if path.startswith("/v1/items/"):
            return ITEM
        return path if path in paths else oip.route_of(path)

    return Middleware(app, service.recommend, metrics, route_of, local)


def _routes(service: "Service") -> list[Route]:
    """All routes except those of the Open Inference Protocol and of the page."""
    return [
        Route("/openapi.json", service.openapi),
        Route(FAST_PATH, service.recommend_by_route, methods=["POST"]),
        Route("/v1/similar", service.similar, methods=["POST"]),
        Route("/v1/items", service.items, methods=["POST"]),
        Route(ITEM.replace("}", ":path}"), service.remove_item, methods=["DELETE"]),
        Route("/admin/activate", service.activate, methods=["POST"]),
        Route("/admin/rollback", service.rollback, methods=["POST"]),
        Route("/v2/health/live", service.live),
        Route("/v2/health/ready", service.ready),
        Route("/metrics", service.metrics),
    ]


class Service:
    """The handlers of the routes."""

    def __init__(
        self,
        manager: ReleaseManager,
        metrics: Metrics,
        access: Access,
        worker_group: SingleWorker,
        items_keep: float,
    ) -> None:
        self.tracer: Tracer | None = None
        self._items_keep = items_keep
        self._manager = manager
        self._metrics = metrics
        self._access = access
        self._worker_group = worker_group
        self._changes = StorageCalls(threads=2, waiting=8, within=STORED_WITHIN)
        self._activations = StorageCalls(threads=1, waiting=2, within=ACTIVATED_WITHIN)

    async def recommend(self, body: bytes, headers: Headers) -> bytes:
        """Handle the fast path: JSON in, JSON out."""
        began = time.perf_counter()
        value = requests.parse(body)
        loaded = self.loaded()  # once: the whole request runs on this release
        parsed = requests.read_recommend(value, loaded.ranker.contract, loaded.ranker.size)
        response = await loaded.recommend(parsed.request, explain=parsed.explain)
        seconds = {**response.seconds, "total": time.perf_counter() - began}
        self._metrics.answered(seconds, response.fallback)
        if self.tracer:
            attributes = {"two_tower.release": response.release, "two_tower.fallback": response.fallback}
            self.tracer.record("recommend", _texts(headers), seconds, attributes)
        content = response.to_dict()
        return orjson.dumps(content | {"seconds": seconds} if parsed.timings else content)

    async def recommend_by_route(self, request: Request) -> Response:
        """Handle the same call by the router, for spellings of the path that the fast path does not match."""
        return Response(await self.recommend(await request.body(), {}), media_type="application/json")

    async def similar(self, request: Request) -> Response:
        value = requests.parse(await request.body())
        loaded = self.loaded()
        response = await loaded.similar(requests.read_similar(value, loaded.ranker.contract, loaded.ranker.size))
        return Json(response.to_dict())

    async def items(self, request: Request) -> Response:
        self._access.check_items(request)
        value = requests.parse(await request.body())
        loaded = self.loaded()
        items = requests.read_items(value, loaded.ranker.contract)
        upsert = loaded.ranker.side_index.upsert
        side_items = await self._change(lambda: upsert(items, time.time(), self._items_keep))
        return Json({"upserted": len(items), "side_items": side_items, "release": loaded.ranker.release})

    async def remove_item(self, request: Request) -> Response:
        self._access.check_items(request)
        loaded = self.loaded()
        item = requests.read_item_id(request.path_params["item_id"], loaded.ranker.contract)
        remove = loaded.ranker.side_index.remove
        side_items = await self._change(lambda: remove(item, time.time()))
        return Json({"removed": 1, "side_items": side_items, "release": loaded.ranker.release})

    async def _change(self, change: Callable[[], int]) -> int:
        """Change the side index, wait until the other workers have read it, and return its number of items."""

        def change_and_announce() -> int:
            side_items = change()
            self._manager.announce(ITEMS_WITHIN)
            return side_items

        return await self._changes.run(change_and_announce)

    async def activate(self, request: Request) -> Response:
        self._access.check_admin(request)
        release = requests.parse(await request.body()).get("release")
        if not isinstance(release, str):
            raise invalid(f"release is {release!r:.60}.", "It must be the id of a release.")
        return await self._activated(request, lambda: self._manager.activate(release))

    async def rollback(self, request: Request) -> Response:
        self._access.check_admin(request)
        return await self._activated(request, self._manager.rollback)

    async def _activated(self, request: Request, activate: Callable[[], str]) -> Response:
        release = await self._activations.run(activate)
        logger.info("release %s was activated by %s from %s", release, request.scope["path"], caller(request))
        return Json({"release": release})

    async def live(self, _: Request) -> Response:
        return Json({"live": True})

    async def ready(self, _: Request) -> Response:
        ranker = self.loaded().ranker
        if not self._worker_group.complete():
            raise unavailable("not_ready", "Another worker still opens its first release.")
        return Json({"ready": True, "release": ranker.release, "provider": ranker.user_tower.provider})

    async def metrics(self, _: Request) -> Response:
        return Response(await asyncio.to_thread(self._metrics.text), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def openapi(self, _: Request) -> Response:
        return Json(document())

    def loaded(self) -> LoadedRelease:
        """The loaded release. Raises RequestError 503 if no release is loaded."""
        if self._manager.loaded is None:
            opened = self._manager.opened.is_set()
            raise unavailable("not_ready", "No release is loaded." if opened else "The release is being opened.")
        return self._manager.loaded


def _texts(headers: Headers) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
