"""One release with its feature store: whatever a request needs, so that it runs wholly on one release."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serving.ask import Ask
from serving.errors import RequestError
from serving.online import OnlineStore, Pool, StoreError
from serving.recommender import Answer, Fallback, Recommender
from two_tower.release import FEATURE_STORE

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """store: None where neither the release nor the operator names a feature store; then no user is known."""

    recommender: Recommender
    store: OnlineStore | None

    @classmethod
    def open(cls, folder: Path, feature_repo: Path | None, pool: Pool) -> "Served":
        """Open a verified release. feature_repo: a Feast repository to use instead of the release's own."""
        recommender = Recommender.open(folder)
        repo = feature_repo or (folder if (folder / FEATURE_STORE).is_file() else None)
        store = OnlineStore(repo, recommender.contract, pool) if repo else None
        if store:
            store.open()
        return cls(recommender, store)

    async def answer(self, ask: Ask) -> Answer:
        """Recommendations for the features given, else for the user as the store knows him, else popular items.

        Raises RequestError 422 where the features given cannot be embedded.
        """
        if ask.features is not None:
            return self._recommend(ask.features, ask)
        if self.store is None:
            return self._popular(ask)
        assert ask.user_id is not None, "a request names a user or gives features"
        began = time.perf_counter()
        try:
            row = await self.store.row(ask.user_id)
        except StoreError:
            return self._popular(ask, store_failed=True)
        looked_up = time.perf_counter() - began
        answer = self._popular(ask) if row is None else self._from_store(row, ask)
        return replace(answer, seconds={"store": looked_up, **answer.seconds})

    def _from_store(self, row: Mapping[str, Any], ask: Ask) -> Answer:
        try:
            return self._recommend(row, ask)
        except RequestError as error:  # no fault of the client's: the store holds a value that the tower cannot take
            log.warning("the online store's row of user %r is unusable: %s", ask.user_id, error.message)
            return self._popular(ask, row, store_failed=True)

    def _recommend(self, row: Mapping[str, Any], ask: Ask) -> Answer:
        return self.recommender.recommend(row, k=ask.k, exclude_seen=ask.exclude_seen, now=time.time())

    def _popular(self, ask: Ask, row: Mapping[str, Any] | None = None, *, store_failed: bool = False) -> Answer:
        fallback: Fallback = "store" if store_failed else "popular"
        return self.recommender.popular(row or {}, k=ask.k, exclude_seen=ask.exclude_seen, fallback=fallback)
