"""The workers of one service. They announce changes to each other, and acknowledge those that they have read.

The state is in shared memory, with one record per worker that only this worker writes (and the parent after its death).
So no locks are needed, which a killed worker would not release.
"""

import mmap
import os
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

_ALL_ACKNOWLEDGED = np.iinfo(np.uint64).max
_PLACE = np.dtype([("pid", "u8"), ("up", "u8"), ("announced", "u8"), ("acknowledged", "u8"), ("release", "S32")])
_CHECK_EVERY = 0.002  # seconds between two checks of the acknowledgements


class SingleWorker:
    """The only process of a service, without others to inform."""

    size = 1
    folder: Path | None = None  # folder that the workers of one service share
    replaces = False  # whether this worker starts while others answer

    def __init__(self) -> None:
        self._stop = threading.Event()

    def pids(self) -> list[int]:
        """Ids of the processes of the service."""
        return [os.getpid()]

    def started(self) -> None:
        """Record that this worker can answer requests from now on."""

    def complete(self) -> bool:
        """Whether all workers could answer once, so that a client may be sent to any of them."""
        return True

    def pause(self, seconds: float) -> bool:
        """Wait for some seconds or for a change that another worker announces. Returns False once `stop` was called."""
        return not self._stop.wait(seconds)

    def stop(self) -> None:
        """End the current and all later pauses."""
        self._stop.set()

    def changes(self) -> int:
        """Number of changes announced so far. Read this number first, and then the state that may have changed."""
        return 0

    def acknowledge(self, changes: int, release: str) -> None:
        """Record how many changes this worker has read, and the id of its release (empty if there is none)."""

    def announce(self, within: float) -> list[int]:  # noqa: ARG002
        """Announce a change, wait for the acknowledgements, and return the numbers of the workers that are late."""
        return []

    def other_release(self) -> str:
        """Id of a release that another worker serves; empty if there is none."""
        return ""


class WorkerGroup:
    """The parent's view of its workers.

    Args:
        size: number of workers.
        folder: folder that they share.
    """

    def __init__(self, size: int, folder: Path) -> None:
        self.folder = folder
        self.places = np.frombuffer(mmap.mmap(-1, size * _PLACE.itemsize), dtype=_PLACE)
        self.places["acknowledged"] = _ALL_ACKNOWLEDGED
        self.bells = [os.pipe() for _ in range(size)]
        for end in (end for bell in self.bells for end in bell):
            os.set_blocking(end, False)

    def began(self, number: int, pid: int) -> None:
        """Record the process of a worker."""
        self.places["pid"][number] = pid

    def ended(self, number: int) -> bool:
        """Stop waiting for a worker that has ended. Returns whether it had answered requests."""
        was_up = bool(self.places["up"][number])
        self.places[number] = (0, 0, self.places["announced"][number], _ALL_ACKNOWLEDGED, b"")
        return was_up

    def up(self) -> int:
        """Number of workers that answer requests."""
        return int(self.places["up"].sum())


class Worker(SingleWorker):
    """A worker's view of the group; created in its own process."""

    def __init__(self, group: WorkerGroup, number: int) -> None:
        super().__init__()
        self.size = len(group.places)
        self.folder = group.folder
        self._places, self._bells, self._number = group.places, group.bells, number
        self._parent = os.getppid()
        self._announcing = threading.Lock()
        self.replaces = self._complete = bool(self._places["up"].any())

    def pids(self) -> list[int]:
        return [self._parent, *(int(pid) for pid in self._places["pid"] if pid)]

    def started(self) -> None:
        self._places["up"][self._number] = 1

    def complete(self) -> bool:
        self._complete = self._complete or bool(self._places["up"].all())
        return self._complete

    def pause(self, seconds: float) -> bool:
        bell = self._bells[self._number][0]
        if wait([bell], seconds):
            os.read(bell, 4096)
        return not self._stop.is_set()

    def stop(self) -> None:
        super().stop()
        self._ring(self._number)

    def changes(self) -> int:
        return int(self._places["announced"].sum())

    def acknowledge(self, changes: int, release: str) -> None:
        self._places["release"][self._number] = release.encode()
        self._places["acknowledged"][self._number] = changes

    def announce(self, within: float) -> list[int]:
        with self._announcing:
            self._places["announced"][self._number] += 1
        changes, others = self.changes(), [n for n in range(self.size) if n != self._number]
        for other in others:
            self._ring(other)
        until = time.monotonic() + within
        while (late := [n for n in others if self._places["acknowledged"][n] < changes]) and time.monotonic() < until:
            time.sleep(_CHECK_EVERY)
        return late

    def other_release(self) -> str:
        return next((name.decode() for name in self._places["release"].tolist() if name), "")

    def _ring(self, number: int) -> None:
        try:
            os.write(self._bells[number][1], b".")
        except BlockingIOError:  # thousands of rings are unread already
            return
