"""Supervisor of several workers on one port: it forks, watches and ends them, and answers no requests itself.

The parent imports the libraries before it forks, so that a worker starts quickly and shares their memory. Before it
forks it opens no session, store or server, and starts no thread. The first workers listen on the port at once; one that
replaces another listens once it can answer.
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
from serving.workers.collector import freeze_libraries
from serving.workers.copies import RELEASES
from serving.workers.worker_group import Worker, WorkerGroup

STEADY = 10.0  # a worker that ends after more seconds than this counts as able to run
LONGEST_PAUSE = 30.0  # most seconds before a worker that keeps ending early is restarted
ENDING = 9.5  # seconds that workers have to finish their requests before they are killed
STOP = (signal.SIGTERM, signal.SIGINT)
HEAVY = ("serving.http.oip", "serving.http.oip_grpc")  # else each worker would import them

log = logging.getLogger(__name__)


class WorkersError(RuntimeError):
    """No worker can be kept running."""


@dataclass
class _Place:
    """A worker or its vacant place. failures: early ends in a row. due: when to restart it."""

    number: int
    process: BaseProcess | None = None
    began: float = 0.0
    failures: int = 0
    due: float = 0.0
    was_up: bool = False


def supervise(work: Callable[[Worker], None], size: int, folder: Path) -> None:
    """Run workers until SIGTERM or SIGINT, and restart those that end.

    Args:
        work: listens for requests until SIGTERM, and calls `Worker.started` once it can answer them.
        size: number of workers.
        folder: an empty folder that the workers share.

    Raises:
        WorkersError: if a worker ends before it could answer for the first time, or if the last worker that could
            answer has ended and none can replace it.
    """
    for heavy in HEAVY:
        importlib.import_module(heavy)
    freeze_libraries()
    (folder / RELEASES).mkdir()
    count_together(folder)
    supervisor = _Supervisor(work, WorkerGroup(size, folder))
    with supervisor.signals():
        supervisor.run()


class _Supervisor:
    def __init__(self, work: Callable[[Worker], None], group: WorkerGroup) -> None:
        self._work, self._group = work, group
        self._metrics = Metrics()
        self._places = [_Place(number) for number in range(len(group.places))]
        self._asked_to_stop, self._stop = os.pipe()
        self._orphaned, self._alive = os.pipe()  # the second end closes when the parent ends, however it ends

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
            by_sentinel = {place.process.sentinel: place for place in self._places if place.process}
            ready = wait([self._asked_to_stop, *by_sentinel], max(0, pause))
            if self._asked_to_stop in ready:
                return
            for sentinel in ready:
                self._ended(by_sentinel[sentinel])  # type: ignore[index]

    def _start(self, place: _Place) -> None:
        process = multiprocessing.get_context("fork").Process(target=self._run, args=(place.number,))
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # else the child may run the parent's handler
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        assert process.pid is not None, "it runs"
        self._group.began(place.number, process.pid)
        place.process, place.began = process, time.monotonic()

    def _run(self, number: int) -> None:
        """Run a worker in its own process."""
        for one in STOP:
            signal.signal(one, signal.SIG_DFL)  # until the server handles them
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
        os.close(self._alive)
        threading.Thread(target=self._end_with_parent, daemon=True).start()
        logs.configure(worker=number)
        count_together(self._group.folder)
        self._work(Worker(self._group, number))

    def _end_with_parent(self) -> None:
        """End the worker when the parent has ended; requests in flight are finished."""
        os.read(self._orphaned, 1)
        shutil.rmtree(self._group.folder, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)

    def _ended(self, place: _Place) -> None:
        assert place.process is not None and place.process.pid is not None, "the sentinel belongs to a process"
        place.process.join()
        how, now = _how(place.process.exitcode), time.monotonic()
        forget(place.process.pid)
        was_up = self._group.ended(place.number)
        place.was_up |= was_up
        place.process = None
        if not place.was_up or not (was_up or self._group.up()):
            raise WorkersError(f"worker {place.number} ended with {how} before it answered a request. See its log")
        place.failures = 0 if now - place.began > STEADY else place.failures + 1
        pause = pause_after(place.failures)
        place.due = now + pause
        self._metrics.restarted.inc()
        log.error("worker %d ended with %s; restarting it in %.0f s", place.number, how, pause)

    def _end(self) -> None:
        """Let the workers finish their requests, and kill those that are left after ENDING."""
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
    """Seconds before a worker is restarted, by its number of early ends in a row; 0 after the first."""
    if failures == 0:
        return 0.0
    return min(LONGEST_PAUSE, 2.0 ** min(failures - 1, 10) - 1)  # 2.0**1024 would overflow


def _how(status: int | None) -> str:
    assert status is not None, "it has ended"
    return f"signal {-status} ({signal.Signals(-status).name})" if status < 0 else f"exit status {status}"
