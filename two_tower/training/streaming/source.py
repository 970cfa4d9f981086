"""The source of the training rows: tables in memory, or the folder of a pull, read piece by piece."""

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from two_tower._version import __version__
from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.data.pulled import Pulled, Split
from two_tower.errors import InputError
from two_tower.memory import available
from two_tower.schema import Contract, TowerName
from two_tower.training.checkpoint import run_key
from two_tower.training.distributed import ProcessGroup
from two_tower.training.network.counting import fit_parts
from two_tower.training.network.encoders import Encoders, fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Positives, Source
from two_tower.training.sampling.user_history import DESCRIPTION as HISTORY
from two_tower.training.sampling.user_history import SEEN, UserHistory, write_user_history
from two_tower.training.streaming.shard_writer import DESCRIPTION as SHARDS
from two_tower.training.streaming.shard_writer import ShardWriter
from two_tower.training.streaming.shards import Shards
from two_tower.training.validation import MAX_EVENTS, Events, Validation, sampled

IN_MEMORY = 3.0  # times the tables' bytes: the tables, a copy while they are encoded, and the packed columns
LOCK = "writer.lock"


class Data(Protocol):
    """The rows of a pull, as training reads them.

    Attributes:
        stream: `on` if the rows stay on disk.
        contract: Features of both towers.
    """

    @property
    def stream(self) -> Literal["on", "off"]: ...

    @property
    def contract(self) -> Contract: ...

    def key(self, config: TrainConfig) -> str:
        """Return a name for the training of these settings on these data."""
        ...

    def fit(self) -> Encoders:
        """Fit the feature encoders on the training rows."""
        ...

    def validation(self, encoders: Encoders, device: torch.device) -> Validation:
        """Return the validation events."""
        ...

    def positives(self, encoders: Encoders, network: TwoTower, config: TrainConfig, device: torch.device) -> Source:
        """Return the training positives."""
        ...


@dataclass(frozen=True)
class InMemory:
    """All rows in memory; the columns of the positives are on the device."""

    pulled: Pulled
    stream: Literal["on", "off"] = "off"

    @property
    def contract(self) -> Contract:
        return self.pulled.contract

    def key(self, config: TrainConfig) -> str:
        return run_key(self.pulled, config)

    def fit(self) -> Encoders:
        return fit(self.pulled)

    def validation(self, encoders: Encoders, device: torch.device) -> Validation:
        return Validation.of(Events.of(self.pulled), self.pulled, encoders, device)

    def positives(self, encoders: Encoders, network: TwoTower, config: TrainConfig, device: torch.device) -> Source:
        return Positives.of(self.pulled, encoders, network, config.shuffle_window, device)


@dataclass(frozen=True)
class Streamed:
    """Rows on disk; memory holds a piece of the pull or a few shards at a time.

    Attributes:
        parts: The pull.
        scratch: Folder for the shards. It takes the bytes of the packed columns and 100 more for each row.
        megabytes: Size of the rows that memory may hold.
        writes: Whether this process writes the shards; the others of its node wait for them.
    """

    parts: Parts
    scratch: Path
    megabytes: int
    writes: bool = True
    stream: Literal["on", "off"] = "on"

    @property
    def contract(self) -> Contract:
        return self.parts.described.contract

    def key(self, config: TrainConfig) -> str:
        digest = hashlib.sha256(f"{__version__} {config.to_json()}".encode())
        digest.update(self.parts.digest())
        return digest.hexdigest()[:16]

    @cached_property
    def _fitted(self) -> tuple[Encoders, dict[tuple[TowerName, str], int]]:
        return fit_parts(self.parts)

    def fit(self) -> Encoders:
        return self._fitted[0]

    def validation(self, encoders: Encoders, device: torch.device) -> Validation:
        return Validation.of(events(self.parts, self._history), self.parts.described, encoders, device)

    @cached_property
    def _history(self) -> UserHistory:
        folder = self.scratch / "user_history"
        if self.writes:
            write_user_history(self.parts, folder, int(self.megabytes * 1e6 / 2))
        _wait_for(folder / HISTORY, self.scratch)
        return UserHistory.read(folder)

    def positives(self, encoders: Encoders, network: TwoTower, config: TrainConfig, device: torch.device) -> Source:
        folder = self.scratch / "shards"
        if self.writes:
            folder.mkdir(parents=True)
            ShardWriter(self.parts, self._history, encoders, self._fitted[1], network, config).write(folder)
        _wait_for(folder / SHARDS, self.scratch)
        return Shards.read(folder, self.scratch / "user_history" / SEEN, config.shuffle_window, device)


def events(parts: Parts, history: UserHistory) -> Events:
    """Return what `Events.of` does, from at most 10 times MAX_EVENTS rows that are evenly spaced in the window."""
    rows = parts.spaced(Split.VALIDATION, 10 * MAX_EVENTS)
    rows = sampled(rows[history.is_positive(rows)])
    pulled = parts.take(rows)
    length = history.length[rows].astype(np.int64)
    event = np.repeat(np.arange(len(rows)), length)
    within = np.arange(len(event)) - np.repeat(np.cumsum(length) - length, length)
    seen = history.seen[np.repeat(history.begin[rows], length) + within].astype(np.int64)
    person = np.unique(history.user[rows], return_inverse=True)[1]
    item = history.item[rows].astype(np.int64)
    return Events(pulled.user, pulled.seconds, item, person, event, seen, history.items)


@contextmanager
def writer_lock(scratch: Path) -> Iterator[None]:
    """Create the scratch folder and hold a lock in it, which the operating system releases if this process dies."""
    scratch.mkdir(parents=True)
    with (scratch / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _wait_for(path: Path, scratch: Path) -> None:
    """Wait for a file that another process of this node writes; raise RuntimeError if that process has ended."""
    while not path.is_file():
        if _writer_ended(scratch) and not path.is_file():
            raise RuntimeError(
                f"the process of this node that writes the training shards ended before it wrote {path}. "
                "Its log says why; start training again."
            )
        time.sleep(0.5)


def _writer_ended(scratch: Path) -> bool:
    try:
        with (scratch / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:  # the writer removes the folder at its end
        return True
    except BlockingIOError:
        return False
    return True


@contextmanager
def opened(pulled: Pulled | Path, config: TrainConfig, device: torch.device, group: ProcessGroup) -> Iterator[Data]:
    """Open the rows as `config.stream` says; `auto` decides by the available memory and prints its decision.

    Scratch files are written to the folder for temporary files ($TMPDIR) and removed at the end.

    Args:
        pulled: Tables in memory, or the folder of a pull.
        config: Settings.
        device: Device of the positives.
        group: The processes that train together.

    Raises:
        InputError: `stream=on` with tables that are in memory already.
    """
    if isinstance(pulled, Pulled):
        if config.stream == "on":
            raise InputError("stream=on reads a pull from its folder, but the pull is in memory. Pass the folder.")
        yield InMemory(pulled)
        return
    parts = Parts(pulled)
    streams, reason = stream_decision(parts, config, device)
    if not group.broadcast(float(streams)):
        _print(group, f"training rows are held in memory ({reason})")
        yield InMemory(Pulled.read(pulled))
        return
    _print(group, f"training rows are streamed from disk, {config.stream_megabytes} MB at a time ({reason})")
    node, run = os.environ.get("GROUP_RANK", "0"), int(group.broadcast(float(time.time_ns() // 1000)))
    scratch = Path(tempfile.gettempdir()) / f"two-tower-stream-{run}-{node}"  # the same for all processes of a node
    writes = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        with writer_lock(scratch) if writes else nullcontext():
            group.barrier()  # the lock exists before another process looks for it
            yield Streamed(parts, scratch, config.stream_megabytes, writes)
    finally:
        if writes:
            shutil.rmtree(scratch, ignore_errors=True)


def stream_decision(parts: Parts, config: TrainConfig, device: torch.device) -> tuple[bool, str]:
    """Return whether rows are streamed from disk, and the reason."""
    if config.stream != "auto":
        return config.stream == "on", f"stream={config.stream}"
    tables = parts.row_bytes * len(parts)
    limits = [("memory", tables * IN_MEMORY, available())]
    if device.type == "cuda":
        limits.append(("the device", tables, torch.cuda.mem_get_info(device)[0] // 2))
    exceeded = [limit for limit in limits if limit[1] > limit[2]]
    name, needed, free = (exceeded or limits)[0]
    return bool(exceeded), f"stream=auto: they take about {needed / 1e9:.2g} GB; {name} has {free / 1e9:.2g} GB free"


def _print(group: ProcessGroup, text: str) -> None:
    if group.is_first:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
