"""Which release serves: follows the pointer of a releases folder, without a restart."""

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from serving.engine.loaded_release import LoadedRelease, Opening
from serving.workers import copies
from two_tower.errors import InputError
from two_tower.recommender.errors import invalid, not_found, unavailable
from two_tower.recommender.side_index import age
from two_tower.releases import release as published

POLL_EVERY = 1.0  # seconds between two looks at the pointer
RETRY_AFTER = 30.0  # seconds until a refused release is tried again: what refused it may have been the network
SWITCH_WITHIN = 60.0  # seconds that an operator waits for the other workers to open a release

log = logging.getLogger(__name__)


class Watcher:
    """Attribute served: the release that answers now, None before the first. A switch replaces it as a whole.

    The release that served before stays open, so that the way back to it takes no time.
    """

    def __init__(self, opening: Opening) -> None:
        self.served: LoadedRelease | None = None
        self._before: LoadedRelease | None = None
        self._opening = opening
        self._releases = opening.releases
        self._metrics = opening.metrics
        self._team = opening.worker_group
        self._lock = threading.Lock()  # of switching: a poll and an operator may come together
        self._refused: tuple[str, float] = ("", 0.0)  # what was refused, and when

    def start(self) -> None:
        """Open the current release, and follow the pointer from then on.

        Where that is refused, a worker that comes late takes the one that the others serve.
        """
        self.poll()
        if self.served is None:
            with self._lock:
                self._follow(self._team.beside)
        if self.served is None:
            log.warning("no release serves from %s yet; not ready until one is activated", self._releases)
        threading.Thread(target=self._run, name="releases", daemon=True).start()

    def stop(self) -> None:
        self._team.stop()

    @property
    def serving(self) -> str:
        """The id of the release that serves, empty without one."""
        return self.served.ranker.release if self.served else ""

    def listed(self) -> list[published.Listed]:
        """All releases, the newest first. Raises OSError where they cannot be read."""
        return published.list_releases(self._releases)

    def poll(self) -> None:
        """Look at the pointer once, and switch if it names another release. What serves goes on where that fails."""
        changes = self._team.looking()
        with self._lock:
            self._follow(lambda: self._opening.pinned or published.current(self._releases) or "")
            if self.served:
                self._refresh_side(self.served)
        self._team.looked(changes, self.serving)

    def tell(self, within: float) -> None:
        """Wait until all other workers have looked at the pointer and the side index, but no longer than that."""
        if late := self._team.tell(within):
            log.warning("workers %s have not taken up a change within %.0f s", ", ".join(map(str, late)), within)

    def _follow(self, named: Callable[[], str]) -> None:
        wanted = ""
        try:
            wanted = named()
            if wanted not in ("", self.serving) and not self._refused_lately(wanted):
                self._switch(wanted)
        except Exception as error:  # noqa: BLE001 - whatever failed, what serves must go on
            self._refuse(wanted, error)

    def _refresh_side(self, served: LoadedRelease) -> None:
        try:
            served.ranker.side_index.refresh()
        except Exception as error:  # noqa: BLE001 - the items that are known already are served on
            log.error("the side index of release %s cannot be read: %s", self.serving, error)
        self._metrics.side_items.set(len(served.ranker.side_index.items.ids))
        self._metrics.side_age.set(age(served.ranker.side_index.items))

    def activate(self, release: str) -> str:
        """Point to a release and serve it; its id. Raises RequestError 404 or 422, and then all is as it was."""
        known = {one.id for one in self.listed()}
        if release not in known:
            raise not_found(f"There is no release {release!r:.60}.", "See `two-tower releases list`.")

        def point() -> str:
            published.activate(self._releases, release)
            return release

        return self._point(point)

    def rollback(self) -> str:
        """Point to the release before the current one and serve it; its id. Raises RequestError 422 without one."""
        return self._point(lambda: published.rollback(self._releases))

    def _point(self, move: Callable[[], str]) -> str:
        if pinned := self._opening.pinned:
            raise invalid(
                f"This service serves {pinned}, whatever is activated.",
                "Use `two-tower releases`, or start the service without --release.",
            )
        with self._lock:
            try:
                before = published.current(self._releases)
                release = move()
                try:
                    if release != self.serving:
                        self._switch(release)
                except Exception as error:
                    self._refuse(release, error)
                    if before:
                        published.activate(self._releases, before)
                    raise
            except InputError as error:
                raise invalid(f"Refused: {error}", f"{self.serving or 'No release'} serves on.") from error
            except OSError as error:
                raise unavailable("storage", f"The releases cannot be reached: {error}.") from error
        self.tell(SWITCH_WITHIN)
        return release

    def _switch(self, wanted: str) -> None:
        before = self.served
        if self._before and self._before.ranker.release == wanted:
            opened = self._before
            opened.ranker.side_index.refresh()
        else:
            with tempfile.TemporaryDirectory(prefix="two-tower-", dir=self._team.folder) as own:
                opened = LoadedRelease.open(
                    copies.local(self._releases, wanted, Path(own), self._team.folder), self._opening
                )
        self._metrics.switched(self.serving or None, wanted, opened.ranker.user_tower.provider)
        self.served, self._before = opened, before
        log.info("serving release %s: %d items", wanted, opened.ranker.size)

    def _refused_lately(self, wanted: str) -> bool:
        release, when = self._refused
        return release == wanted and time.monotonic() < when + RETRY_AFTER

    def _refuse(self, wanted: str, error: Exception) -> None:
        if not wanted and self._refused_lately(wanted):
            return
        self._refused = (wanted, time.monotonic())
        self._metrics.refused.inc()
        named = wanted or "(pointer unreadable)"
        log.error("refused release %s, still serving %s: %s", named, self.serving or "none", error)

    def _run(self) -> None:
        while self._team.pause(POLL_EVERY):
            self.poll()
