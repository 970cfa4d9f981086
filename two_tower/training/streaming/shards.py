"""The training positives on disk, read a few shards at a time."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from two_tower.training.network.columns import Columns
from two_tower.training.sampling.batches import Positives, batches_of
from two_tower.training.streaming.prefetch import prefetch
from two_tower.training.streaming.shard_writer import DESCRIPTION, FIRST, OF_ITEMS, shard_file

_APART = 1 << 40  # between the seeds of two shards


@dataclass(frozen=True)
class Shards:
    """The files that `ShardWriter` wrote.

    Attributes:
        folder: Folder of the shards.
        lengths: Number of positives in each shard.
        layouts: Layout of each tower's columns, see `Columns`.
        seen: (interactions,) int32, a memory-mapped file, see `Positives`.
        count: (items,) int64, number of positives of each item.
        first: With negatives from the catalogue, the columns of each item as it was at its first positive.
        window: See `Positives`.
        device: Device of the positives that are yielded.
    """

    folder: Path
    lengths: tuple[int, ...]
    layouts: dict[str, tuple[tuple[bool, int, int], ...]]
    seen: Tensor
    count: Tensor
    first: dict[str, Tensor]
    window: int
    device: torch.device

    @classmethod
    def read(cls, folder: Path, seen: Path, window: int, device: torch.device) -> "Shards":
        described = json.loads((folder / DESCRIPTION).read_text())
        layouts = {tower: tuple(map(tuple, layout)) for tower, layout in described["layouts"].items()}
        first = load_file(folder / FIRST) if (folder / FIRST).is_file() else {}
        mapped = torch.from_numpy(np.memmap(seen, np.int32, "c"))
        count = torch.tensor(described["count"], device=device)
        return cls(folder, tuple(described["lengths"]), layouts, mapped, count, first, window, device)

    def __len__(self) -> int:
        return sum(self.lengths)

    def steps(self, size: int) -> int:
        return sum(batches_of(length, size) for length in self.lengths)

    def batches(self, size: int, seed: int, done: int = 0) -> Iterator[tuple[Positives, Tensor]]:
        """Yield the shards in random order and, within each, its batches as `Positives.epoch` draws them."""
        plan = []
        for number in torch.randperm(len(self.lengths), generator=torch.Generator().manual_seed(seed)).tolist():
            here = batches_of(self.lengths[number], size)
            if done < here:
                plan.append((number, done))
            done = max(0, done - here)
        loaded = prefetch(partial(self.load, number) for number, _ in plan)
        for (number, skipped), positives in zip(plan, loaded, strict=True):
            yield from positives.batches(size, seed + number * _APART, skipped)

    def load(self, number: int) -> Positives:
        """Read one shard."""
        values = {name: v.clone() for name, v in load_file(self.folder / shard_file(number)).items()}
        before = len(self.first["item"]) if self.first else 0
        if before:
            unknown = torch.zeros(len(values["item"]), dtype=torch.bool)
            unknown[:before] = ~values["known"]
            for name in OF_ITEMS:
                values[name][unknown] = self.first[name][unknown[:before]]

        def on(name: str) -> Tensor:
            is_integer = values[name].dtype in (torch.int32, torch.int64)
            return (values[name].long() if is_integer else values[name]).to(self.device)

        def columns(tower: str) -> Columns:
            ids, numbers = (values[f"{tower}_{part}"].to(self.device) for part in ("ids", "numbers"))
            return Columns(ids, numbers, self.layouts[tower])

        positives = Positives(
            columns("user"),
            columns("item"),
            on("user"),
            on("item"),
            len(self.count),
            self.seen,
            on("begin"),
            on("length"),
            on("log_q"),
            on("weight"),
            self.window,
            self.count,
            before,
        )
        assert positives.by_item.size == before + len(positives)  # computed here, in the background
        return positives
