"""A pulled folder that is read a piece at a time, for data that memory does not hold."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from two_tower.data.pulled import SPLIT, TABLES, Pulled, Split
from two_tower.inputs import Array

ROW_TABLES = ("interactions", "user", "item")  # row i of each belongs to interaction i
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Parts:
    """The folder that `features.pull_into` wrote. A piece is a row group of parquet (`pulled.ROW_GROUP` rows)."""

    folder: Path

    @cached_property
    def described(self) -> Pulled:
        """The contract, the bounds and the catalogue; of the other tables only the columns."""
        return Pulled.read(self.folder, ("catalogue",))

    @cached_property
    def _groups(self) -> list[tuple[int, int, int]]:
        """File, row group and number of rows of each piece, in order of time."""
        found = []
        for name in ROW_TABLES:
            files = [pq.read_metadata(file) for file in self._files(name)]
            found.append(
                [(f, g, m.row_group(g).num_rows) for f, m in enumerate(files) for g in range(m.num_row_groups)]
            )
        assert found[0] == found[1] == found[2], "the tables of a pull are cut alike"
        return found[0]

    def _files(self, name: str) -> list[Path]:
        return sorted((self.folder / name).iterdir())

    @cached_property
    def starts(self) -> list[int]:
        """The number of each piece's first row, and at the end that of all rows."""
        return [0, *accumulate(rows for _, _, rows in self._groups)]

    def __len__(self) -> int:
        """Interactions in all."""
        return self.starts[-1]

    @cached_property
    def spans(self) -> dict[Split, tuple[int, int]]:
        """The first row of each split and the one after its last: they follow one another in time."""
        counts = dict.fromkeys(Split, 0)
        for file, group, _ in self._groups:
            labels = pq.ParquetFile(self._files("interactions")[file]).read_row_group(group, columns=[SPLIT])[SPLIT]
            for split in Split:
                counts[split] += pc.sum(pc.equal(labels, split.value)).as_py() or 0
        ends = list(accumulate(counts.values()))
        return {split: (end - counts[split], end) for split, end in zip(Split, ends, strict=True)}

    def numbers(self, begin: int, end: int) -> list[int]:
        """The pieces that have rows from `begin` up to `end`."""
        return [n for n, start in enumerate(self.starts[:-1]) if start < end and begin < self.starts[n + 1]]

    def piece(self, number: int, tables: Collection[str] = ROW_TABLES) -> Pulled:
        """One piece, with the rows of `tables` alone."""
        file, group, _ = self._groups[number]
        read = {name: pq.ParquetFile(self._files(name)[file]).read_row_group(group) for name in tables}
        return replace(self.described, **read)

    @cached_property
    def row_bytes(self) -> float:
        """Bytes of a row of all tables in memory, as measured on the last piece, where histories are longest."""
        piece = self.piece(len(self._groups) - 1)
        return sum(getattr(piece, name).nbytes for name in ROW_TABLES) / max(1, piece.interactions.num_rows)

    def spaced(self, split: Split, most: int) -> Array:
        """The numbers of rows of a split, evenly spaced and at most `most`; all of them where they are fewer."""
        begin, end = self.spans[split]
        return np.arange(begin, end, max(1, -(-(end - begin) // most)))

    def take(self, rows: Array) -> Pulled:
        """Some rows, by ascending numbers, and the catalogue."""
        cuts = np.searchsorted(rows, self.starts)
        found = [self._empty]
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            piece, here = self.piece(number), rows[cuts[number] : cuts[number + 1]] - self.starts[number]
            found.append({name: getattr(piece, name).take(here) for name in ROW_TABLES})
        return replace(self.described, **{n: pa.concat_tables([one[n] for one in found]) for n in ROW_TABLES})

    @property
    def _empty(self) -> dict[str, pa.Table]:
        return {name: getattr(self.described, name) for name in ROW_TABLES}

    def digest(self) -> bytes:
        """A hash of the files' bytes."""
        digest = hashlib.sha256((self.folder / "pulled.json").read_bytes())
        for name in TABLES:
            for path in self._files(name):
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
        return digest.digest()
