"""Where training reads its rows: tables in memory, or the folder of a pull, piece by piece."""

import hashlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from two_tower.schema import Contract, TowerName
from two_tower.training.checkpoint import run_key
from two_tower.training.distributed import Ranks
from two_tower.training.network.counting import fit_parts
from two_tower.training.network.encoders import Encoders, fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Positives, Source
from two_tower.training.sampling.user_history import DESCRIPTION as LEDGER
from two_tower.training.sampling.user_history import Ledger, write_ledger
from two_tower.training.streaming.memory import available
from two_tower.training.streaming.shard_writer import DESCRIPTION as SHARDS
from two_tower.training.streaming.shard_writer import Spill
from two_tower.training.streaming.shards import Shards
from two_tower.training.validation import MOST_EVENTS, Events, Validation, chosen

HELD = 3.0  # times the tables' bytes: the tables, a copy while they are encoded, and the packed columns


class Data(Protocol):
    """The rows of a pull, as training asks for them. stream: whether they stay on disk."""

    @property
    def stream(self) -> Literal["on", "off"]: ...

    @property
    def contract(self) -> Contract: ...

    def key(self, config: TrainConfig) -> str:
        """A name for the training of these settings on these data."""
        ...

    def fit(self) -> Encoders: ...

    def validation(self, encoders: Encoders, device: torch.device) -> Validation: ...

    def positives(self, encoders: Encoders, network: TwoTower, config: TrainConfig, device: torch.device) -> Source: ...


@dataclass(frozen=True)
class InMemory:
    """All rows at once; the columns of the positives go to the device."""

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
    """A piece of the pull, or a few shards, at a time.

    scratch: folder for the shards. It takes the bytes of the packed columns and 100 more a row. megabytes: what of the
    rows memory may hold. writes: whether this process makes the shards; others wait for them.
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
        return Validation.of(events(self.parts, self._ledger), self.parts.described, encoders, device)

    @cached_property
    def _ledger(self) -> Ledger:
        folder = self.scratch / "ledger"
        if self.writes:
            write_ledger(self.parts, folder, int(self.megabytes * 1e6 / 2))
        _await(folder / LEDGER)
        return Ledger.read(folder)

    def positives(self, encoders: Encoders, network: TwoTower, config: TrainConfig, device: torch.device) -> Source:
        folder = self.scratch / "shards"
        if self.writes:
            folder.mkdir(parents=True)
            Spill(self.parts, self._ledger, encoders, self._fitted[1], network, config).write(folder)
        _await(folder / SHARDS)
        return Shards.read(folder, self.scratch / "ledger" / "taken", config.shuffle_window, device)


def events(parts: Parts, ledger: Ledger) -> Events:
    """As `Events.of`, of at most 10 times MOST_EVENTS rows that lie evenly in the window."""
    rows = parts.spaced(Split.VALIDATION, 10 * MOST_EVENTS)
    rows = chosen(rows[~ledger.repeated[rows]])
    there = parts.take(rows)
    length = ledger.length[rows].astype(np.int64)
    event = np.repeat(np.arange(len(rows)), length)
    within = np.arange(len(event)) - np.repeat(np.cumsum(length) - length, length)
    seen = ledger.taken[np.repeat(ledger.begin[rows], length) + within].astype(np.int64)
    person = np.unique(ledger.user[rows], return_inverse=True)[1]
    item = ledger.item[rows].astype(np.int64)
    return Events(there.user, there.seconds, item, person, event, seen, ledger.items)


def _await(path: Path) -> None:
    """Wait for what another process of this node writes."""
    while not path.is_file():
        time.sleep(0.5)


@contextmanager
def opened(pulled: Pulled | Path, config: TrainConfig, device: torch.device, among: Ranks) -> Iterator[Data]:
    """The rows as `config.stream` asks; `auto` decides for a folder by the memory at hand, and says so.

    Scratch files lie in the folder for temporary files ($TMPDIR), and are removed at the end. Raises InputError for
    tables that are in memory already and are to be streamed.
    """
    if isinstance(pulled, Pulled):
        if config.stream == "on":
            raise InputError("stream=on reads a pull from its folder, and was given tables in memory. Give the folder.")
        yield InMemory(pulled)
        return
    parts = Parts(pulled)
    streams, why = decided(parts, config, device)
    if not among.told(float(streams)):
        _say(among, f"training rows are held in memory ({why})")
        yield InMemory(Pulled.read(pulled))
        return
    _say(among, f"training rows stream from disk, {config.stream_megabytes} MB of them at a time ({why})")
    node, run = os.environ.get("GROUP_RANK", "0"), int(among.told(float(time.time_ns() // 1000)))
    scratch = Path(tempfile.gettempdir()) / f"two-tower-stream-{run}-{node}"  # the same for all processes of a node
    writes = os.environ.get("LOCAL_RANK", "0") == "0"
    try:
        yield Streamed(parts, scratch, config.stream_megabytes, writes)
    finally:
        if writes:
            shutil.rmtree(scratch, ignore_errors=True)


def decided(parts: Parts, config: TrainConfig, device: torch.device) -> tuple[bool, str]:
    """Whether rows are to be streamed, and why."""
    if config.stream != "auto":
        return config.stream == "on", f"stream={config.stream}"
    tables = parts.row_bytes * len(parts)
    places = [("memory", tables * HELD, available())]
    if device.type == "cuda":
        places.append(("the device", tables, torch.cuda.mem_get_info(device)[0] // 2))
    short = [place for place in places if place[1] > place[2]]
    name, needed, there = (short or places)[0]
    return bool(short), f"stream=auto: they take about {needed / 1e9:.2g} GB, and {name} has {there / 1e9:.2g} GB left"


def _say(among: Ranks, text: str) -> None:
    if among.first:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
