"""Writes the training positives to disk in shards, encoded and packed, in order of time."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from two_tower.config import TrainConfig
from two_tower.data.parts import Parts
from two_tower.data.pulled import Split
from two_tower.schema import TowerName
from two_tower.training.network.columns import Columns
from two_tower.training.network.encoders import TOWERS, Encoders, prepare_table
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling import NEGATIVES
from two_tower.training.sampling.batches import log_q, require_positives
from two_tower.training.sampling.user_history import UserHistory
from two_tower.training.streaming.prefetch import prefetch

IN_MEMORY = 4  # shards in memory at most: one in use, one ready, one being loaded, and one to spare
MIN_SHARD = 1000  # positives in a shard, at least
DESCRIPTION, FIRST = "shards.json", "first.safetensors"
OF_ITEMS = ("item", "item_ids", "item_numbers", "log_q")  # columns that a shard also has of the items before it


def shard_file(number: int) -> str:
    return f"shard-{number:05}.safetensors"


class ShardWriter:
    """Turns the pieces of a pull into shards of positives."""

    def __init__(
        self,
        parts: Parts,
        history: UserHistory,
        encoders: Encoders,
        longest: dict[tuple[TowerName, str], int],
        network: TwoTower,
        config: TrainConfig,
    ) -> None:
        """Prepare to write.

        Args:
            parts: The pull.
            history: Items that each row's user had seen before.
            encoders: Fitted encoders.
            longest: Length of the longest list of each list feature; all shards are padded to it.
            network: The towers; their layers turn prepared columns into inputs.
            config: Settings.
        """
        self.parts, self.history, self.encoders, self.longest = parts, history, encoders, longest
        self.network, self.config = network, config
        self.from_catalogue: bool = getattr(NEGATIVES[config.negatives], "from_catalogue", True)
        self.count = history.count(parts.spans[Split.TRAIN][1])
        self.layouts: dict[str, tuple[tuple[bool, int, int], ...]] = {}
        self.latest: dict[str, Tensor] = {}
        self.first: dict[str, Tensor] = {}

    def write(self, folder: Path) -> None:
        """Write shards of about equal size, at most `stream_megabytes` / IN_MEMORY, and the description last.

        If negatives come from the catalogue, a shard begins with a row for each item as it was at its last positive
        before the shard (`known`). If there is none, `Shards` uses the item's first positive.
        """
        total = int(self.count.sum())
        require_positives(total)
        lengths: list[int] = []
        for number, values in enumerate(self._cut(total)):
            save_file(self._with_items(values), folder / shard_file(number))
            lengths.append(len(values["user"]))
        if self.first:
            save_file(self.first, folder / FIRST)
        description = {"lengths": lengths, "layouts": self.layouts, "count": self.count.tolist()}
        (folder / DESCRIPTION).write_text(json.dumps(description))

    def _cut(self, total: int) -> Iterator[dict[str, Tensor]]:
        """Yield the positives of each shard."""
        waiting: list[dict[str, Tensor]] = []
        ready = done = shards = 0
        ends = [total]
        numbers = self.parts.numbers(*self.parts.spans[Split.TRAIN])
        for values in prefetch(partial(self._packed, number) for number in numbers):
            if not values:
                continue
            waiting.append(values)
            ready += len(values["user"])
            if not shards:
                shards = self._shards(values, total)
                ends = [total * (k + 1) // shards for k in range(shards)]
            while ends and done + ready >= ends[0]:
                size = ends.pop(0) - done
                joined = {name: torch.cat([one[name] for one in waiting]) for name in waiting[0]}
                yield {name: values[:size] for name, values in joined.items()}
                waiting = [{name: values[size:].clone() for name, values in joined.items()}]
                done, ready = done + size, ready - size

    def _shards(self, values: dict[str, Tensor], total: int) -> int:
        """Return the number of shards for `total` positives, from the size of the first piece."""
        each = sum(v.nbytes for v in values.values()) / len(values["user"])
        room = self.config.stream_megabytes * 1e6 / IN_MEMORY
        if self.from_catalogue:
            room -= sum(values[n].nbytes for n in OF_ITEMS if n in values) / len(values["user"]) * len(self.count)
        return -(-total // max(MIN_SHARD, int(room / each)))

    def _packed(self, number: int) -> dict[str, Tensor]:
        """Return the positives of a piece in the columns of a shard."""
        piece, start = self.parts.piece(number), self.parts.starts[number]
        rows = piece.rows(Split.TRAIN)
        rows = rows[self.history.is_positive(rows + start)]
        if not len(rows):
            return {}
        at, seconds = rows + start, piece.seconds[rows]
        columns = {
            name: torch.from_numpy(np.array(getattr(self.history, name)[at]))
            for name in ("user", "item", "weight", "begin", "length")
        }
        for tower in TOWERS:
            prepared = prepare_table(self.encoders, tower, getattr(piece, tower).take(rows), seconds)
            for (owner, name), longest in self.longest.items():
                if owner == tower:
                    prepared[name] = functional.pad(prepared[name], (0, longest - prepared[name].shape[1]))
            packed = Columns.of(getattr(self.network, tower).read(prepared), torch.device("cpu"))
            self.layouts[tower] = packed.layout
            columns |= {f"{tower}_ids": packed.ids, f"{tower}_numbers": packed.numbers}
        return columns

    def _with_items(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add `log_q` and, if negatives come from the catalogue, a row for each item before the positives."""
        item = values["item"].numpy().astype(np.int64)
        share = self.count / self.count.sum()
        values = values | {"log_q": torch.from_numpy(log_q(item, self.config.shuffle_window, share))}
        if not self.from_catalogue:
            return {name: v.contiguous() for name, v in values.items()}
        if not self.latest:
            for name in OF_ITEMS:
                empty = torch.zeros(len(self.count), *values[name].shape[1:], dtype=values[name].dtype)
                self.latest[name], self.first[name] = empty, empty.clone()
            every_item = torch.arange(len(self.count), dtype=values["item"].dtype)
            self.latest["item"], self.first["item"] = every_item, every_item.clone()
            self.latest["known"] = torch.zeros(len(self.count), dtype=torch.bool)
        joined = {n: torch.cat([self.latest[n], v]) if n in OF_ITEMS else v.contiguous() for n, v in values.items()}
        joined["known"] = self.latest["known"].clone()
        codes, first = np.unique(item, return_index=True)
        last = len(item) - 1 - np.unique(item[::-1], return_index=True)[1]
        new = ~self.latest["known"].numpy()[codes]
        for name in OF_ITEMS:
            self.first[name][codes[new]] = values[name][first[new]]
            self.latest[name][codes] = values[name][last]
        self.latest["known"][codes] = True
        return joined
