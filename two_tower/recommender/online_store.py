"""User features from a Feast online store."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from two_tower.data.online_config import expanded, online_config
from two_tower.schema import Contract, Dtype

TIMEOUT = 60.0  # seconds that `rows` waits for the store
REOPEN_AFTER = 5.0  # seconds between two attempts to open a store

Row = Mapping[str, Any]


class StoreError(Exception):
    """The online store failed, hangs or is overloaded."""


class OnlineStore:
    """The online store of a Feast repository, or of a release's feature_store.yaml.

    Feast is imported and the registry is read at the first look-up. All methods may be called from any thread.

    Args:
        repo: folder with a feature_store.yaml, which is read at once.
        contract: feature contract of the release.

    Raises:
        InputError: if the folder has no feature_store.yaml.
    """

    def __init__(self, repo: Path, contract: Contract) -> None:
        self.repo = repo
        self._config = online_config(repo)
        self._contract = contract
        self._store: Any = None
        self._opening = threading.Lock()
        self._tried = float("-inf")

    def rows(
        self, user_ids: Sequence[str | int], timeout: float = TIMEOUT, at: datetime | None = None
    ) -> Sequence[Row | None]:
        """Read users' raw features; None for a user that the store does not know.

        Args:
            user_ids: user keys.
            timeout: seconds to wait for the store; Feast and its stores are blocking code that may hang. The import of
                Feast, which takes long on a busy machine, does not count.
            at: time of the request, for the ttl of feature views. Default: the current time.

        Raises:
            StoreError: if the store cannot be read in time.
        """
        try:
            import_module("two_tower.data.online")
            return _in_thread(lambda: self.read(user_ids, at)).result(timeout)
        except Exception as error:  # stores raise errors of any type
            reason = f"no answer within {timeout:g} s" if isinstance(error, TimeoutError) else repr(error)
            raise StoreError(reason) from error

    def read(self, user_ids: Sequence[str | int], at: datetime | None = None) -> Sequence[Row | None]:
        """Read users' raw features on this thread, without a time limit. Raises any error of Feast or the store."""
        from two_tower.data.online import online_rows  # Feast takes seconds to import

        rows: Sequence[Row | None] = online_rows(self._opened(), self._contract, user_ids, at)
        return rows

    def read_any(self) -> None:
        """Read the registry and one row, so that the first user does not wait for them."""
        self.read([0 if self._contract.user_key_dtype == Dtype.INT64 else ""])

    def feature_time(self, user_id: str | int) -> datetime | None:
        """Event timestamp of a user's newest features; None for a user that the store does not know."""
        from two_tower.data.online import feature_time

        stamp: datetime | None = feature_time(self._opened(), self._contract, user_id)
        return stamp

    def _opened(self) -> Any:
        if self._store is None:
            with self._opening:
                if self._store is None:
                    if time.monotonic() < self._tried + REOPEN_AFTER:
                        raise StoreError("it could not be opened a moment ago")
                    self._tried = time.monotonic()
                    self._store = _feature_store(self._config, self.repo)
        return self._store


def _feature_store(config: str, repo: Path) -> Any:
    from feast import FeatureStore, RepoConfig

    settings = RepoConfig(**expanded(config))
    settings.repo_path = repo
    return FeatureStore(config=settings)


def _in_thread(call: Callable[[], Any]) -> Future[Any]:
    """Run a call on a daemon thread, which does not keep the process alive if the call hangs."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except Exception as error:  # noqa: BLE001 - raised in the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, name="online-store", daemon=True).start()
    return future
