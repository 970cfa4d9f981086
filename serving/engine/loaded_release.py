"""One release with its online store: everything that a request needs."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from serving.engine.batching import Batcher
from serving.engine.user_lookup import Pool, UserLookup
from serving.http.about import About
from serving.observability.feature_log import FeatureLog, LoggedRelease
from serving.observability.metrics import Metrics
from serving.workers.worker_group import SingleWorker
from two_tower.recommender.filters import Filter
from two_tower.recommender.online_store import StoreError
from two_tower.recommender.ranker import Ranker
from two_tower.recommender.recommender import Recommender
from two_tower.recommender.requests import RecommendRequest, SimilarRequest
from two_tower.recommender.response import Fallback, Response
from two_tower.releases.release import Release
from two_tower.runtime import Device

MAX_RANKED = 32  # users of one call of the towers and the index


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """Options for loading releases.

    Attributes:
        releases: folder or URL of the releases.
        feature_repo: Feast repository to use instead of a release's own.
        pool: threads for look-ups in the online store.
        metrics: the metrics of the service.
        device: device of the towers and the index.
        pinned: id of the release to serve; None serves the release that is active.
        log: destination of a sample of the features; None logs none.
        worker_group: the workers that this process is one of.
    """

    releases: str
    feature_repo: Path | None
    pool: Pool
    metrics: Metrics
    device: Device = "cpu"
    pinned: str | None = None
    log: FeatureLog | None = None
    worker_group: SingleWorker = field(default_factory=SingleWorker)


@dataclass(frozen=True)
class LoadedRelease:
    """One release with all objects that a request needs, so that each request runs on one release.

    Attributes:
        ranker: the release.
        lookup: reads users from the online store; None if neither the release nor the operator names one. Then every
            user is unknown.
        rank: ranks requests in batches.
        about: description of the release for the page.
        logged: the release, for the feature log.
        log: destination of a sample of the features; None logs none.
    """

    ranker: Ranker
    lookup: UserLookup | None
    rank: Batcher[RecommendRequest, Response]
    about: About
    logged: LoggedRelease
    log: FeatureLog | None

    @classmethod
    def open(cls, release: Release, options: LoadOptions) -> "LoadedRelease":
        """Open a verified release, with the side items of its embedding space."""
        recommender = Recommender.open(
            options.releases, release, options.device, options.worker_group.size, options.feature_repo
        )
        ranker, store = recommender.ranker, recommender.store
        lookup = UserLookup(store, options.pool, options.metrics) if store else None
        if lookup:
            lookup.open()

        def run(requests: Sequence[RecommendRequest]) -> Sequence[Response | Exception]:
            return ranker.rank(requests, time.time())

        rank = Batcher(run, max_batch=MAX_RANKED, threaded=ranker.large, observe=options.metrics.ranked)
        logged = LoggedRelease.of(release)
        return cls(ranker, lookup, rank, About.of(release), logged, options.log)

    async def recommend(self, request: RecommendRequest, *, explain: bool = False) -> Response:
        """Recommend items for the given features, else for the user of the online store, else popular items.

        Raises:
            RequestError: 422 if the given features cannot be embedded.
        """
        await self._prepare(request.filters)
        if request.features is not None:
            return await self._rank(request, explain)
        if self.lookup is None:
            return self._popular(request, "popular", explain)
        assert request.user_id is not None, "a request names a user or gives features"
        began = time.perf_counter()
        try:
            row = await self.lookup.row(request.user_id)
        except StoreError:
            return self._popular(request, "store", explain)
        seconds = time.perf_counter() - began
        if row is None:
            response = self._popular(request, "popular", explain)
        else:
            response = await self._rank(request._replace(features=row, from_store=True), explain)
        return replace(response, seconds={"store": seconds, **response.seconds})

    async def similar(self, request: SimilarRequest) -> Response:
        """Find the items nearest to an item. Raises RequestError 404 if it is unknown."""
        return await asyncio.to_thread(self.ranker.nearest, request)

    async def _rank(self, request: RecommendRequest, explain: bool) -> Response:
        assert request.features is not None, "they are given or were looked up"
        if self.log:
            self.log.offer(self.logged, request.features)
        response = await self.rank(request)
        if not explain:
            return response
        if response.fallback:
            return _unexplained(response)
        began = time.perf_counter()
        reasons = await asyncio.to_thread(self.ranker.explain, request.features, response.items)
        seconds = {**response.seconds, "explain": time.perf_counter() - began}
        return replace(response, reasons=reasons, seconds=seconds)

    def _popular(self, request: RecommendRequest, fallback: Fallback, explain: bool) -> Response:
        response = self.ranker.popular(request, fallback)
        return _unexplained(response) if explain else response

    async def _prepare(self, filters: Filter) -> None:
        """Compute the mask of a new filter over many items on a thread."""
        ranker = self.ranker
        if filters and ranker.large and not ranker.catalogue.has_mask(filters):
            await asyncio.to_thread(ranker.catalogue.mask, filters)


def _unexplained(response: Response) -> Response:
    """Popular items have no reasons in the user's history."""
    return replace(response, reasons=[[] for _ in response.items])
