"""Which release serves: follows the pointer of a releases folder, without a restart."""

import logging
import tempfile
import threading
import time
from pathlib import Path

from serving.metrics import Metrics
from serving.online import Pool
from serving.served import Served
from two_tower.release import current, local_copy

POLL_EVERY = 1.0  # seconds between two looks at the pointer
RETRY_AFTER = 30.0  # seconds until a refused release is tried again: what refused it may have been the network

log = logging.getLogger(__name__)


class Watcher:
    """Attribute served: the release that answers now, None before the first. A switch replaces it as a whole."""

    def __init__(self, releases: str, feature_repo: Path | None, metrics: Metrics, pool: Pool) -> None:
        self.served: Served | None = None
        self._releases = releases
        self._feature_repo = feature_repo
        self._metrics = metrics
        self._pool = pool
        self._stop = threading.Event()
        self._refused: tuple[str, float] = ("", 0.0)  # what was refused, and when

    def start(self) -> None:
        """Open the current release, and follow the pointer from then on."""
        self.poll()
        if self.served is None:
            log.warning("no release serves from %s yet; not ready until one is activated", self._releases)
        threading.Thread(target=self._run, name="releases", daemon=True).start()

    def stop(self) -> None:
        self._stop.set()

    def poll(self) -> None:
        """Look at the pointer once, and switch if it names another release. What serves goes on where that fails."""
        wanted = ""
        try:
            wanted = current(self._releases) or ""
            serving = self.served.recommender.release if self.served else ""
            if wanted in ("", serving) or self._refused_lately(wanted):
                return
            with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
                self._switch(
                    Served.open(local_copy(self._releases, wanted, Path(cache)), self._feature_repo, self._pool)
                )
        except Exception as error:  # noqa: BLE001 - whatever failed, what serves must go on
            self._refuse(wanted, error)

    def _switch(self, served: Served) -> None:
        self._metrics.switched(self.served.recommender.release if self.served else None, served.recommender.release)
        self.served = served
        log.info("serving release %s: %d items", served.recommender.release, served.recommender.items)

    def _refused_lately(self, wanted: str) -> bool:
        release, when = self._refused
        return release == wanted and time.monotonic() < when + RETRY_AFTER

    def _refuse(self, wanted: str, error: Exception) -> None:
        if not wanted and self._refused_lately(wanted):
            return
        self._refused = (wanted, time.monotonic())
        self._metrics.refused.inc()
        serving = self.served.recommender.release if self.served else "none"
        log.error("refused release %s, still serving %s: %s", wanted or "(pointer unreadable)", serving, error)

    def _run(self) -> None:
        while not self._stop.wait(POLL_EVERY):
            self.poll()
