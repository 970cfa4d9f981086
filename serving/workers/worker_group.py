"""The workers of one service, and what they tell each other: that something has changed, and who has looked since.

It lies in memory that they share, in a place of its own for each, which only its worker writes (and the parent, when
the worker is dead): no lock that one that is killed could leave behind.
"""

import mmap
import os
import threading
import time
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

_SEEN_ALL = np.iinfo(np.uint64).max
_PLACE = np.dtype([("pid", "u8"), ("up", "u8"), ("told", "u8"), ("seen", "u8"), ("release", "S32")])
_LOOK_EVERY = 0.002  # seconds between two looks at whether the others have looked


class Alone:
    """The only process of a service: there is nobody to tell, and to wait for."""

    size = 1
    folder: Path | None = None  # what the workers of one service share on disk

    def __init__(self) -> None:
        self._stop = threading.Event()

    def pids(self) -> list[int]:
        """The processes of the service."""
        return [os.getpid()]

    def started(self) -> None:
        """Say that requests are answered from now on."""

    def pause(self, seconds: float) -> bool:
        """Wait so long, or until another worker tells of a change. False once it is to end."""
        return not self._stop.wait(seconds)

    def stop(self) -> None:
        self._stop.set()

    def looking(self) -> int:
        """The changes told of so far: to be had before one looks at what may have changed."""
        return 0

    def looked(self, changes: int, release: str) -> None:
        """Say that one has looked, after so many changes, and which release one serves; empty for none."""

    def tell(self, within: float) -> list[int]:  # noqa: ARG002
        """Tell the others of a change, and wait until they have looked: the numbers of those that have not in time."""
        return []

    def beside(self) -> str:
        """A release that another worker serves, empty without one."""
        return ""


class Team:
    """What the parent knows of its workers. folder: what they share on disk."""

    def __init__(self, size: int, folder: Path) -> None:
        self.folder = folder
        self.places = np.frombuffer(mmap.mmap(-1, size * _PLACE.itemsize), dtype=_PLACE)
        self.places["seen"] = _SEEN_ALL
        self.bells = [os.pipe() for _ in range(size)]
        for end in (end for bell in self.bells for end in bell):
            os.set_blocking(end, False)

    def began(self, number: int, pid: int) -> None:
        self.places["pid"][number] = pid

    def ended(self, number: int) -> bool:
        """Wait for a worker that has ended no more. Whether it had answered requests."""
        was_up = bool(self.places["up"][number])
        self.places[number] = (0, 0, self.places["told"][number], _SEEN_ALL, b"")
        return was_up

    def up(self) -> int:
        """How many answer requests."""
        return int(self.places["up"].sum())


class Member(Alone):
    """One worker's side of a team; made in its own process."""

    def __init__(self, team: Team, number: int) -> None:
        super().__init__()
        self.size = len(team.places)
        self.folder = team.folder
        self._places, self._bells, self._number = team.places, team.bells, number
        self._parent = os.getppid()
        self._telling = threading.Lock()

    def pids(self) -> list[int]:
        return [self._parent, *(int(pid) for pid in self._places["pid"] if pid)]

    def started(self) -> None:
        self._places["up"][self._number] = 1

    def pause(self, seconds: float) -> bool:
        bell = self._bells[self._number][0]
        if wait([bell], seconds):
            os.read(bell, 4096)
        return not self._stop.is_set()

    def stop(self) -> None:
        super().stop()
        self._ring(self._number)

    def looking(self) -> int:
        return int(self._places["told"].sum())

    def looked(self, changes: int, release: str) -> None:
        self._places["release"][self._number] = release.encode()
        self._places["seen"][self._number] = changes

    def tell(self, within: float) -> list[int]:
        with self._telling:
            self._places["told"][self._number] += 1
        changes, others = self.looking(), [n for n in range(self.size) if n != self._number]
        for other in others:
            self._ring(other)
        until = time.monotonic() + within
        while (late := [n for n in others if self._places["seen"][n] < changes]) and time.monotonic() < until:
            time.sleep(_LOOK_EVERY)
        return late

    def beside(self) -> str:
        return next((found.decode() for found in self._places["release"].tolist() if found), "")

    def _ring(self, number: int) -> None:
        try:
            os.write(self._bells[number][1], b".")
        except BlockingIOError:  # thousands of rings wait to be heard already
            return
