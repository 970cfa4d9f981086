"""Selects the release that serves: follows the pointer of a releases folder, without a restart."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.engine.loaded_release import LoadedRelease, LoadOptions
from serving.workers import copies
from serving.workers.collector import freeze_libraries
from two_tower.errors import InputError
from two_tower.recommender.errors import conflict, invalid, not_found, unavailable
from two_tower.recommender.side_items import age
from two_tower.releases import release as published

POLL_EVERY = 1.0  # seconds between two reads of the pointer
RETRY_AFTER = 30.0  # seconds until a refused release is tried again; the network may have been the reason
SWITCH_WITHIN = 60.0  # seconds that an operator waits for the other workers to load a release

log = logging.getLogger(__name__)


class ReleaseManager:
    """Loads the active release and replaces it when another one is activated.

    The previous release stays loaded, so that a rollback takes no time.

    Attributes:
        loaded: the release that serves; None before the first. A switch replaces it as a whole.
        opened: set when the first release was opened, or could not be.
    """

    def __init__(self, options: LoadOptions) -> None:
        self.loaded: LoadedRelease | None = None
        self.opened = threading.Event()
        self._previous: LoadedRelease | None = None
        self._options = options
        self._releases = options.releases
        self._metrics = options.metrics
        self._workers = options.worker_group
        self._lock = threading.Lock()  # held while switching: a poll and an operator may come together
        self._refused: tuple[str, float] = ("", 0.0)  # id of the last refused release, and when it was refused

    def start(self) -> None:
        """Load the active release on a thread, and poll the pointer from then on."""
        threading.Thread(target=self._run, name="releases", daemon=True).start()

    def stop(self) -> None:
        """Stop polling."""
        self._workers.stop()

    @property
    def serving(self) -> str:
        """Id of the release that serves; empty if there is none."""
        return self.loaded.ranker.release if self.loaded else ""

    def listed(self) -> list[published.Listed]:
        """List all releases, newest first. Raises OSError if they cannot be read."""
        return published.list_releases(self._releases)

    def poll(self) -> None:
        """Read the pointer, and switch if it names another release. If that fails, the loaded release keeps serving."""
        changes = self._workers.changes()
        with self._lock:
            self._follow(lambda: self._options.pinned or published.current(self._releases) or "")
            if self.loaded:
                self._refresh_side_index(self.loaded)
        self._workers.acknowledge(changes, self.serving)

    def announce(self, within: float) -> None:
        """Wait until all other workers have read the pointer and the side index, at most `within` seconds."""
        if late := self._workers.announce(within):
            log.warning("workers %s have not picked up a change within %.0f s", ", ".join(map(str, late)), within)

    def _open(self) -> None:
        """Load the first release.

        If the active one is refused, a worker that starts later loads the one that the other workers serve.
        """
        self.poll()
        if self.loaded is None:
            with self._lock:
                self._follow(self._workers.other_release)
        if self.loaded is None:
            log.warning("no release of %s is loaded; the service is not ready until one is activated", self._releases)
        self._workers.started()
        self.opened.set()

    def _follow(self, read_pointer: Callable[[], str]) -> None:
        release = ""
        try:
            release = read_pointer()
            if release not in ("", self.serving) and not self._refused_lately(release):
                self._serve(self._load(release))
        except Exception as error:  # noqa: BLE001 - after any failure the loaded release must serve on
            self._refuse(release, error)

    def _refresh_side_index(self, loaded: LoadedRelease) -> None:
        side_index = loaded.ranker.side_index
        try:
            side_index.refresh()
            side_index.merge()
        except Exception as error:  # noqa: BLE001 - after any failure the known side items are served
            log.error("the side index of release %s cannot be read: %s", self.serving, error)
        self._metrics.side_items.set(len(side_index.items.ids))
        self._metrics.side_unreadable.set(side_index.unreadable)
        self._metrics.side_age.set(age(side_index.items))

    def activate(self, release: str) -> str:
        """Activate a release, serve it and return its id.

        Raises:
            RequestError: 404 or 422, and nothing has changed; 409 if another release was activated in the meantime.
        """
        if release not in {one.id for one in self.listed()}:
            raise not_found(f"There is no release {release!r:.60}.", "See `two-tower releases list`.")
        return self._point(lambda: release)

    def rollback(self) -> str:
        """Activate the release before the current one, serve it and return its id. Raises RequestError 409 or 422."""
        return self._point(lambda: published.previous(self._releases))

    def _point(self, choose: Callable[[], str]) -> str:
        """Load a release, move the pointer to it if nobody else has moved it, and serve it."""
        if pinned := self._options.pinned:
            raise invalid(
                f"This service serves {pinned} and ignores the active release.",
                "Use `two-tower releases`, or start the service without --release.",
            )
        with self._lock:
            try:
                before = published.read_pointer(self._releases)
                release = choose()
                loaded = self._loaded(release)
                published.activate_from(self._releases, release, before)
            except published.ActivationConflictError as error:
                raise conflict(f"Refused: {error}", f"{self.serving or 'No release'} still serves.") from error
            except InputError as error:
                raise invalid(f"Refused: {error}", f"{self.serving or 'No release'} still serves.") from error
            except OSError as error:
                raise unavailable("storage", f"The releases cannot be reached: {error}.") from error
            self._serve(loaded)
        self.announce(SWITCH_WITHIN)
        return release

    def _loaded(self, release: str) -> LoadedRelease:
        """Load a release; if it is refused, log and count that. Raises InputError or OSError."""
        try:
            return self._load(release)
        except Exception as error:
            self._refuse(release, error)
            if isinstance(error, InputError | OSError):
                raise
            raise InputError(f"release {release} cannot be opened: {error}") from error

    def _load(self, release: str) -> LoadedRelease:
        for loaded in (self.loaded, self._previous):
            if loaded and loaded.ranker.release == release:
                loaded.ranker.side_index.refresh()
                return loaded
        shared = self._workers.folder
        with tempfile.TemporaryDirectory(prefix="two-tower-", dir=shared) as own:
            local = copies.local(self._releases, release, Path(own), shared)
            return LoadedRelease.open(local, self._options)

    def _serve(self, loaded: LoadedRelease) -> None:
        if loaded is self.loaded:
            return
        release = loaded.ranker.release
        self._metrics.switched(self.serving or None, release, loaded.ranker.user_tower.provider)
        self.loaded, self._previous = loaded, self.loaded
        log.info("serving release %s: %d items", release, loaded.ranker.size)

    def _refused_lately(self, release: str) -> bool:
        refused, when = self._refused
        return refused == release and time.monotonic() < when + RETRY_AFTER

    def _refuse(self, release: str, error: Exception) -> None:
        if not release and self._refused_lately(release):
            return
        self._refused = (release, time.monotonic())
        self._metrics.refused.inc()
        name = release or "(pointer unreadable)"
        log.error("refused release %s, still serving %s: %s", name, self.serving or "none", error)

    def _run(self) -> None:
        freeze_libraries()
        self._open()
        while self._workers.pause(POLL_EVERY):
            self.poll()
