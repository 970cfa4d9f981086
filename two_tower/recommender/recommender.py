"""The recommender: one loaded release that answers the service, the command line and Python alike."""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from two_tower.inputs import Array
from two_tower.recommender.errors import RequestError, invalid, not_found, unavailable
from two_tower.recommender.online_store import OnlineStore, StoreError
from two_tower.recommender.ranker import BATCH, Ranker
from two_tower.recommender.requests import (
    DEFAULT_K,
    RecommendRequest,
    plain,
    recommend_request,
    similar_request,
)
from two_tower.recommender.response import Fallback, Response
from two_tower.releases.manifest import File
from two_tower.releases.release import Release, open_release, resolve
from two_tower.runtime import Device
from two_tower.schema import Contract

CACHE = Path("~/.cache/two-tower/releases")

log = logging.getLogger(__name__)


class Recommender:
    """A loaded release that recommends items. `load_release` opens one.

    Attributes:
        ranker: towers, index and side items of the release.
        store: online store with the users' features; None if neither the release nor the caller names one.
    """

    def __init__(self, ranker: Ranker, store: OnlineStore | None) -> None:
        self.ranker = ranker
        self.store = store

    @classmethod
    def open(
        cls,
        releases: str | Path,
        release: Release,
        device: Device = "cpu",
        workers: int = 1,
        feature_repo: Path | None = None,
    ) -> "Recommender":
        """Open a verified release, and rank once, so that the first user finds everything in memory.

        Args:
            releases: folder or URL of the releases, which also holds the side items.
            release: the release, verified.
            device: device of the towers and the index.
            workers: number of processes that share the cores.
            feature_repo: Feast repository to look users up in. Default: the release's own.

        Raises:
            InputError: if the files do not belong together, if the device is not available, or if feature_repo has no
                feature_store.yaml.
        """
        ranker = Ranker(release, releases, device, workers)
        ranker.side_index.refresh()
        for response in ranker.rank([RecommendRequest(features={}, k=1)] * 2, ranker.as_of):
            if isinstance(response, RequestError):
                raise response
        repo = feature_repo or (release.folder if release.has(File.FEATURE_STORE) else None)
        return cls(ranker, OnlineStore(repo, ranker.contract) if repo else None)

    @property
    def release(self) -> str:
        """Id of the release."""
        return self.ranker.release

    @property
    def contract(self) -> Contract:
        """Which features feed which tower."""
        return self.ranker.contract

    @property
    def items(self) -> tuple[str | int, ...]:
        """Ids of the catalogue's items, in the order of the index."""
        return tuple(self.ranker.catalogue.ids)

    @property
    def size(self) -> int:
        """Number of items that can be recommended."""
        return self.ranker.size

    def recommend(
        self,
        user_id: Any = None,
        *,
        features: Mapping[str, Any] | None = None,
        k: int = DEFAULT_K,
        exclude_seen: bool = True,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the service's field
        exclude: Iterable[Any] = (),
        now: float | None = None,
    ) -> Response:
        """Recommend items for one user, as the service does.

        Args:
            user_id: user key. The user's features are read from the online store. If the store does not know the user,
                the response has popular items and `fallback="popular"`; if the store fails, `fallback="store"`.
            features: raw feature values by name, used in place of the online store; missing ones may be absent.
            k: number of items, 1 to 1000 and at most `size`.
            exclude_seen: leave out the items that the user's features list as seen.
            filter: conditions by item column: a value, a list of values, or a range `{"min": a, "max": b}`.
            exclude: ids of items to leave out.
            now: time of the request, seconds since 1970. Default: the current time.

        Returns:
            At most k items, best first; fewer only if fewer are left.

        Raises:
            RequestError: an InputError that names the argument, if one has the wrong type or is out of range.
        """
        request = recommend_request(
            self.contract,
            self.size,
            user_id=plain(user_id),
            features=plain(features),
            k=plain(k),
            exclude_seen=plain(exclude_seen),
            filters=plain(filter),
            exclude=[plain(item) for item in exclude],
        )
        return self._answer([request], time.time() if now is None else now)[0]

    def recommend_many(
        self,
        user_ids: Sequence[Any] | None = None,
        *,
        features: Sequence[Mapping[str, Any]] | None = None,
        k: int = DEFAULT_K,
        exclude_seen: bool = True,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the service's field
        exclude: Iterable[Any] = (),
        now: float | None = None,
    ) -> list[Response]:
        """Recommend items for many users.

        Args:
            user_ids: user keys.
            features: raw feature values by name, one mapping per user. If both are given, the features are used.
            k: number of items per user.
            exclude_seen: leave out the items that a user's features list as seen.
            filter: conditions by item column, for all users.
            exclude: ids of items to leave out, for all users.
            now: time of the requests, seconds since 1970. Default: the current time.

        Returns:
            A response per user, in their order.

        Raises:
            RequestError: an InputError that names the argument, if one has the wrong type or is out of range.
        """
        left_out = [plain(item) for item in exclude]
        shared = {"k": plain(k), "exclude_seen": plain(exclude_seen), "filters": plain(filter), "exclude": left_out}
        requests = [recommend_request(self.contract, self.size, **u, **shared) for u in _users(user_ids, features)]
        seconds = time.time() if now is None else now
        blocks = [requests[start : start + BATCH] for start in range(0, len(requests), BATCH)]
        return [response for block in blocks for response in self._answer(block, seconds)]

    def similar(
        self,
        item_id: Any,
        k: int = DEFAULT_K,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - the name of the service's field
    ) -> Response:
        """Find the k items nearest to an item, without the item itself.

        Raises:
            RequestError: an InputError, if the item is unknown or an argument is out of range.
        """
        request = similar_request(self.contract, self.size, item_id=plain(item_id), k=plain(k), filters=plain(filter))
        return self.ranker.nearest(request)

    def embed_users(
        self,
        user_ids: Sequence[Any] | None = None,
        *,
        features: Sequence[Mapping[str, Any]] | None = None,
        now: float | None = None,
    ) -> Array:
        """Embed users by id or by their features, (users, dim) float32.

        Args:
            user_ids: user keys; the features are read from the online store.
            features: raw feature values by name, one mapping per user.
            now: time of the request, seconds since 1970. Default: the current time.

        Raises:
            RequestError: an InputError, if the online store does not know a user or fails, or if a value has the wrong
                type.
        """
        requests = [recommend_request(self.contract, self.size, **u, k=1) for u in _users(user_ids, features)]
        now = time.time() if now is None else now
        try:
            ready = self._with_features(requests, now)
        except StoreError as error:
            raise unavailable("store", f"The online store failed: {error}.", "Try again, or pass features.") from error
        for request in ready:
            if request.features is None:
                raise not_found(f"The online store does not know user {request.user_id!r:.60}.", "Pass features.")
        return self.ranker.embed_users([r.features or {} for r in ready], now)

    def embed_items(self, item_ids: Sequence[Any] | None = None) -> Array:
        """Embed items as of the release, (items, dim) float32; by default the catalogue, in the order of `items`.

        Raises:
            RequestError: an InputError, if an item is unknown.
        """
        return self.ranker.embed_items(self.items if item_ids is None else [plain(item) for item in item_ids])

    def _answer(self, requests: Sequence[RecommendRequest], now: float) -> list[Response]:
        """Return one response per request. Raises RequestError if the embedding of passed features is not finite."""
        fallback: Fallback = "popular"
        try:
            requests = self._with_features(requests, now)
        except StoreError as error:
            log.warning("the online store of release %s fails: %s", self.release, error)
            fallback = "store"
        ranked = iter(self.ranker.rank([one for one in requests if one.features is not None], now))
        responses: list[Response] = []
        for request in requests:
            response = self.ranker.popular(request, fallback) if request.features is None else next(ranked)
            if isinstance(response, RequestError):
                raise response
            responses.append(response)
        return responses

    def _with_features(self, requests: Sequence[RecommendRequest], now: float) -> Sequence[RecommendRequest]:
        """Read the rows of users whose features are not given; features stay None if the user is unknown."""
        users = [one.user_id for one in requests if one.features is None and one.user_id is not None]
        if self.store is None or not users:
            return requests
        rows = iter(self.store.rows(users, at=datetime.fromtimestamp(now, UTC)))
        return [
            one if one.features is not None else one._replace(features=next(rows), from_store=True) for one in requests
        ]


def load_release(
    releases: str | Path,
    release_id: str | None = None,
    device: Device = "cpu",
    feature_repo: str | Path | None = None,
    cache: Path = CACHE,
) -> Recommender:
    """Verify and open a release.

    Args:
        releases: folder or URL of the releases.
        release_id: the release to open. Default: the current one.
        device: device of the towers and the index.
        feature_repo: Feast repository to look users up in. Default: the release's own.
        cache: folder for the files of a release in object storage.

    Raises:
        ReleaseError: an InputError, if there is no such release or its files are not those that were published.
    """
    release = open_release(releases, resolve(releases, release_id), cache.expanduser())
    return Recommender.open(releases, release, device, feature_repo=Path(feature_repo) if feature_repo else None)


def _users(user_ids: Sequence[Any] | None, features: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    """The arguments of each user's request."""
    if user_ids is None and features is None:
        raise invalid("Neither user_ids nor features is given.", "Pass the users' ids, or their raw features.")
    ids = [None] * len(features or ()) if user_ids is None else list(user_ids)
    rows = [None] * len(ids) if features is None else list(features)
    if len(ids) != len(rows):
        raise invalid(f"There are {len(ids)} user_ids and {len(rows)} features.", "Pass as many of both.")
    return [{"user_id": plain(user), "features": plain(row)} for user, row in zip(ids, rows, strict=True)]
