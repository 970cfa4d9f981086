"""One release with its feature store: whatever a request needs, so that it runs wholly on one release."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serving.engine.batching import Batcher
from serving.engine.online_store import OnlineStore, Pool, StoreError
from serving.http.about import About
from serving.http.requests import Ask, AskSimilar
from serving.observability.feature_log import FeatureLog, Logged
from serving.observability.metrics import Metrics
from serving.workers.worker_group import Alone
from two_tower.recommender.errors import RequestError
from two_tower.recommender.filters import Filter
from two_tower.recommender.recommender import Answer, Fallback, Query, Recommender
from two_tower.recommender.side_index import SideIndex, SideItems
from two_tower.releases.release import FEATURE_STORE
from two_tower.runtime import Device

MOST_RANKED = 32  # users of one call of the towers and the index

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What the opening of any release needs. feature_repo: a Feast repository to use instead of a release's own.

    pinned: the release to serve whatever the pointer says; None follows the pointer. log: where a sample of the
    features goes; None keeps none. team: the workers that this process is one of.
    """

    releases: str
    feature_repo: Path | None
    pool: Pool
    metrics: Metrics
    device: Device = "cpu"
    pinned: str | None = None
    log: FeatureLog | None = None
    team: Alone = field(default_factory=Alone)


@dataclass(frozen=True)
class Served:
    """store: None where neither the release nor the operator names a feature store; then no user is known."""

    recommender: Recommender
    store: OnlineStore | None
    side: SideIndex
    rank: Batcher[Query, Answer]
    about: About
    logged: Logged
    log: FeatureLog | None

    @classmethod
    def open(cls, folder: Path, opening: Opening) -> "Served":
        """Open a verified release, with the side items of its embedding space."""
        recommender = Recommender.open(folder, opening.device, opening.team.size)
        repo = opening.feature_repo or (folder if (folder / FEATURE_STORE).is_file() else None)
        store = OnlineStore(repo, recommender.contract, opening.pool, opening.metrics) if repo else None
        if store:
            store.open()

        def publish(items: SideItems) -> None:
            recommender.side = items

        side = SideIndex(opening.releases, recommender, publish)
        side.refresh()

        def run(queries: Sequence[Query]) -> Sequence[Answer | Exception]:
            return recommender.recommend(queries, time.time())

        rank = Batcher(run, most=MOST_RANKED, threaded=recommender.large, observe=opening.metrics.ranked)
        logged = Logged.of(folder, recommender.release, recommender.contract)
        return cls(recommender, store, side, rank, About.read(folder), logged, opening.log)

    async def answer(self, ask: Ask) -> Answer:
        """Recommendations for the features given, else for the user as the store knows him, else popular items.

        Raises RequestError 422 where the features given cannot be embedded.
        """
        await self._prepare(ask.wanted)
        if ask.features is not None:
            return await self._recommend(ask.features, ask)
        if self.store is None:
            return self._popular(ask)
        assert ask.user_id is not None, "a request names a user or gives features"
        began = time.perf_counter()
        try:
            row = await self.store.row(ask.user_id)
        except StoreError:
            return self._popular(ask, store_failed=True)
        looked_up = time.perf_counter() - began
        answer = self._popular(ask) if row is None else await self._from_store(row, ask)
        return replace(answer, seconds={"store": looked_up, **answer.seconds})

    async def similar(self, ask: AskSimilar) -> Answer:
        """The items nearest to one. Raises RequestError 404."""
        return await asyncio.to_thread(self.recommender.similar, ask.item_id, ask.k, ask.wanted)

    async def _from_store(self, row: Mapping[str, Any], ask: Ask) -> Answer:
        try:
            return await self._recommend(row, ask)
        except RequestError as error:  # no fault of the client's: the store holds a value that the tower cannot take
            log.warning("the online store's row of user %r is unusable: %s", ask.user_id, error.message)
            return self._popular(ask, row, store_failed=True)

    async def _recommend(self, row: Mapping[str, Any], ask: Ask) -> Answer:
        if self.log:
            self.log.offer(self.logged, row)
        answer = await self.rank(Query(row, ask.k, ask.exclude_seen, ask.wanted))
        if not ask.explain:
            return answer
        began = time.perf_counter()
        reasons = await asyncio.to_thread(self.recommender.explain, row, answer.items)
        return replace(answer, reasons=reasons, seconds={**answer.seconds, "explain": time.perf_counter() - began})

    def _popular(self, ask: Ask, row: Mapping[str, Any] | None = None, *, store_failed: bool = False) -> Answer:
        fallback: Fallback = "store" if store_failed else "popular"
        answer = self.recommender.popular(Query(row or {}, ask.k, ask.exclude_seen, ask.wanted), fallback)
        return replace(answer, reasons=[[] for _ in answer.items]) if ask.explain else answer

    async def _prepare(self, wanted: Filter) -> None:
        """Make the mask of a new filter over many items on a thread."""
        if wanted and self.recommender.large and not self.recommender.catalogue.has_mask(wanted):
            await asyncio.to_thread(self.recommender.catalogue.mask, wanted)
