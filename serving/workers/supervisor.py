"""Several workers on one port: forked, watched and ended by a parent that answers nothing itself.

Forked after the libraries were imported, a worker has them at once and for next to no memory of its own. The parent has
opened no session, store or server, and started no thread, before it forks. A worker listens on the port once it can
answer, beside the others.
"""

import importlib
import logging
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from serving.observability import logs
from serving.observability.metrics import Metrics, count_together, forget
from serving.workers.collector import spare_libraries
from serving.workers.copies import RELEASES
from serving.workers.worker_group import Member, Team

STEADY = 10.0  # seconds after which a worker that ends is no sign of one that cannot run
LONGEST_PAUSE = 30.0  # seconds before a worker that ends soon again and again is started again
ENDING = 20.0  # seconds that workers have to end, requests in hand and all, before they are killed
STOP = (signal.SIGTERM, signal.SIGINT)
HEAVY = (
    "serving.http.oip",
    "serving.http.oip_grpc",
    "feast.infra.passthrough_provider",
)  # else imported by each worker

log = logging.getLogger(__name__)


class WorkersError(RuntimeError):
    """No worker can be kept running."""


@dataclass
class _Place:
    """A worker, or where it is missing. failures: how often in a row it ended soon. due: when to start it again."""

    number: int
    process: BaseProcess | None = None
    began: float = 0.0
    failures: int = 0
    due: float = 0.0
    was_up: bool = False


def supervise(work: Callable[[Member], None], size: int, folder: Path) -> None:
    """Run `work` in so many processes until SIGTERM or SIGINT; one that ends is started again.

    work: answers requests until SIGTERM, and calls `Member.started` once it does. folder: an empty one, for what the
    workers share. Raises WorkersError where a worker ends before it has answered for the first time, and where the last
    one that answered has ended and no other can take its place.
    """
    for heavy in HEAVY:
        importlib.import_module(heavy)
    spare_libraries()
    (folder / RELEASES).mkdir()
    count_together(folder)
    supervisor = _Supervisor(work, Team(size, folder))
    with supervisor.signals():
        supervisor.run()


class _Supervisor:
    def __init__(self, work: Callable[[Member], None], team: Team) -> None:
        self._work, self._team = work, team
        self._metrics = Metrics()
        self._places = [_Place(number) for number in range(len(team.places))]
        self._asked_to_stop, self._stop = os.pipe()
        self._orphaned, self._alive = os.pipe()  # the second end closes with the parent, however that ends

    @contextmanager
    def signals(self) -> Iterator[None]:
        before = {one: signal.signal(one, lambda *_: os.write(self._stop, b".")) for one in STOP}
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def run(self) -> None:
        try:
            self._keep()
        finally:
            self._end()

    def _keep(self) -> None:
        while True:
            now = time.monotonic()
            for place in self._places:
                if place.process is None and place.due <= now:
                    self._start(place)
            pause = min((place.due for place in self._places if place.process is None), default=now + 60) - now
            of = {place.process.sentinel: place for place in self._places if place.process}
            ready = wait([self._asked_to_stop, *of], max(0, pause))
            if self._asked_to_stop in ready:
                return
            for sentinel in ready:
                self._ended(of[sentinel])  # type: ignore[index]

    def _start(self, place: _Place) -> None:
        process = multiprocessing.get_context("fork").Process(target=self._run, args=(place.number,))
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # else the child may be stopped as if it were the parent
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        assert process.pid is not None, "it runs"
        self._team.began(place.number, process.pid)
        place.process, place.began = process, time.monotonic()

    def _run(self, number: int) -> None:
        """The whole life of a worker, in its own process."""
        for one in STOP:
            signal.signal(one, signal.SIG_DFL)  # until the server takes them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        os.close(self._alive)
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        logs.configure(worker=number)
        count_together(self._team.folder)
        self._work(Member(self._team, number))

    def _end_with_parent(self) -> None:
        """What is open stays so while requests in hand are answered."""
        os.read(self._orphaned, 1)
        shutil.rmtree(self._team.folder, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)

    def _ended(self, place: _Place) -> None:
        assert place.process is not None and place.process.pid is not None, "its sentinel was waited for"
        place.process.join()
        how, now = _how(place.process.exitcode), time.monotonic()
        forget(place.process.pid)
        was_up = self._team.ended(place.number)
        place.was_up |= was_up
        place.process = None
        if not place.was_up or not (was_up or self._team.up()):
            raise WorkersError(f"worker {place.number} ended with {how} before it answered a request; its log says why")
        place.failures = 0 if now - place.began > STEADY else place.failures + 1
        pause = pause_after(place.failures)
        place.due = now + pause
        self._metrics.restarted.inc()
        log.error("worker %d ended with %s; it is started again in %.0f s", place.number, how, pause)

    def _end(self) -> None:
        """Let the workers finish what they have in hand, and kill what is left after ENDING."""
        processes = [place.process for place in self._places if place.process]
        for process in processes:
            process.terminate()
        until = time.monotonic() + ENDING
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            if process.exitcode is None:
                log.error("process %s did not end within %.0f s and is killed", process.pid, ENDING)
                process.kill()
                process.join()


def pause_after(failures: int) -> float:
    """Seconds until a worker that ended soon so often in a row is started again: at once the first time."""
    if failures == 0:
        return 0.0
    return min(LONGEST_PAUSE, 2.0 ** min(failures - 1, 10) - 1)  # however often: 2.0**1024 is no number


def _how(status: int | None) -> str:
    assert status is not None, "it has ended"
    return f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
