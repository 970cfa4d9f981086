"""Writes the training positives to disk, encoded and packed, in shards that follow one another in time."""

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
from two_tower.training.sampling.batches import enough, log_q
from two_tower.training.sampling.user_history import Ledger
from two_tower.training.streaming.prefetch import ahead

ALIVE = 4  # shards in memory at most: one in use, one ready, one in the making, and one to spare
LEAST = 1000  # positives in a shard, whatever the room
ELSEWHERE = ("uniform", "popularity", "mixed", "hard", "own")  # negatives not among the positives of their time
DESCRIPTION, FIRST = "shards.json", "first.safetensors"
OF_ITEMS = ("item", "item_ids", "item_numbers", "log_q")  # what a shard has of the items before it as well


def shard_file(number: int) -> str:
    return f"shard-{number:05}.safetensors"


class Spill:
    """From pieces of a pull to shards of positives; see `write`."""

    def __init__(
        self,
        parts: Parts,
        ledger: Ledger,
        encoders: Encoders,
        longest: dict[tuple[TowerName, str], int],
        network: TwoTower,
        config: TrainConfig,
    ) -> None:
        """longest: of each list feature; all shards have room for so many elements. network: tells what towers read."""
        self.parts, self.ledger, self.encoders, self.longest = parts, ledger, encoders, longest
        self.network, self.config = network, config
        self.count = ledger.count(parts.spans[Split.TRAIN][1])
        self.layouts: dict[str, tuple[tuple[bool, int, int], ...]] = {}
        self.latest: dict[str, Tensor] = {}
        self.first: dict[str, Tensor] = {}

    def write(self, folder: Path) -> None:
        """Shards of `stream_megabytes` / ALIVE, all of about one size; the description comes last, when all is there.

        Where negatives come from elsewhere, a shard begins with a row for each item: as it was at its last positive
        before the shard (`known`), for which Shards puts the first positive where there is none.
        """
        total = int(self.count.sum())
        enough(total)
        lengths: list[int] = []
        for number, values in enumerate(self._cut(total)):
            save_file(self._with_items(values), folder / shard_file(number))
            lengths.append(len(values["user"]))
        if self.first:
            save_file(self.first, folder / FIRST)
        said = {"lengths": lengths, "layouts": self.layouts, "count": self.count.tolist()}
        (folder / DESCRIPTION).write_text(json.dumps(said))

    def _cut(self, total: int) -> Iterator[dict[str, Tensor]]:
        """The positives of each shard."""
        waiting: list[dict[str, Tensor]] = []
        there = made = shards = 0
        ends = [total]
        numbers = self.parts.numbers(*self.parts.spans[Split.TRAIN])
        for values in ahead(partial(self._packed, number) for number in numbers):
            if not values:
                continue
            waiting.append(values)
            there += len(values["user"])
            if not shards:
                shards = self._shards(values, total)
                ends = [total * (k + 1) // shards for k in range(shards)]
            while ends and made + there >= ends[0]:
                size = ends.pop(0) - made
                joined = {name: torch.cat([one[name] for one in waiting]) for name in waiting[0]}
                yield {name: values[:size] for name, values in joined.items()}
                waiting = [{name: values[size:].clone() for name, values in joined.items()}]
                made, there = made + size, there - size

    def _shards(self, values: dict[str, Tensor], total: int) -> int:
        """How many shards of so many positives in all, by what the first piece takes."""
        each = sum(v.nbytes for v in values.values()) / len(values["user"])
        room = self.config.stream_megabytes * 1e6 / ALIVE
        if self.config.negatives in ELSEWHERE:
            room -= sum(values[n].nbytes for n in OF_ITEMS if n in values) / len(values["user"]) * len(self.count)
        return -(-total // max(LEAST, int(room / each)))

    def _packed(self, number: int) -> dict[str, Tensor]:
        """The positives of a piece, as a shard has them."""
        piece, start = self.parts.piece(number), self.parts.starts[number]
        rows = piece.rows(Split.TRAIN)
        rows = rows[self.ledger.kept(rows + start)]
        if not len(rows):
            return {}
        at, seconds = rows + start, piece.seconds[rows]
        found = {
            name: torch.from_numpy(np.array(getattr(self.ledger, name)[at]))
            for name in ("user", "item", "weight", "begin", "length")
        }
        for tower in TOWERS:
            prepared = prepare_table(self.encoders, tower, getattr(piece, tower).take(rows), seconds)
            for (of, name), longest in self.longest.items():
                if of == tower:
                    prepared[name] = functional.pad(prepared[name], (0, longest - prepared[name].shape[1]))
            columns = Columns.of(getattr(self.network, tower).read(prepared), torch.device("cpu"))
            self.layouts[tower] = columns.layout
            found |= {f"{tower}_ids": columns.ids, f"{tower}_numbers": columns.numbers}
        return found

    def _with_items(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """With `log_q`, and with a row for each item before the rows of the positives."""
        item = values["item"].numpy().astype(np.int64)
        share = self.count / self.count.sum()
        values = values | {"log_q": torch.from_numpy(log_q(item, self.config.shuffle_window, share))}
        if self.config.negatives not in ELSEWHERE:
            return {name: v.contiguous() for name, v in values.items()}
        if not self.latest:
            for name in OF_ITEMS:
                empty = torch.zeros(len(self.count), *values[name].shape[1:], dtype=values[name].dtype)
                self.latest[name], self.first[name] = empty, empty.clone()
            every = torch.arange(len(self.count), dtype=values["item"].dtype)
            self.latest["item"], self.first["item"] = every, every.clone()
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
