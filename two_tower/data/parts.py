"""Read a pulled folder one piece at a time, for data that does not fit in memory."""

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
    """A folder that `features.pull_into` wrote, read in pieces. A piece is a parquet row group.

    Attributes:
        folder: The pulled folder.
    """

    folder: Path

    @cached_property
    def described(self) -> Pulled:
        """The contract, the bounds and the catalogue. The other tables have their columns but no rows."""
        return Pulled.read(self.folder, ("catalogue",))

    @cached_property
    def _groups(self) -> list[tuple[int, int, int]]:
        """File number, row group and number of rows of each piece, in order of time."""
        groups = []
        for name in ROW_TABLES:
            files = [pq.read_metadata(file) for file in self._files(name)]
            groups.append(
                [(f, g, m.row_group(g).num_rows) for f, m in enumerate(files) for g in range(m.num_row_groups)]
            )
        assert groups[0] == groups[1] == groups[2], "all tables of a pull have the same row groups"
        return groups[0]

    def _files(self, name: str) -> list[Path]:
        return sorted((self.folder / name).iterdir())

    @cached_property
    def starts(self) -> list[int]:
        """The first row of each piece, then the total number of rows; (pieces + 1) entries."""
        return [0, *accumulate(rows for _, _, rows in self._groups)]

    def __len__(self) -> int:
        """The total number of interactions."""
        return self.starts[-1]

    @cached_property
    def spans(self) -> dict[Split, tuple[int, int]]:
        """The first row of each split, and the row after its last. The splits follow one another in time."""
        counts = dict.fromkeys(Split, 0)
        for file, group, _ in self._groups:
            labels = pq.ParquetFile(self._files("interactions")[file]).read_row_group(group, columns=[SPLIT])[SPLIT]
            for split in Split:
                counts[split] += pc.sum(pc.equal(labels, split.value)).as_py() or 0
        ends = list(accumulate(counts.values()))
        return {split: (end - counts[split], end) for split, end in zip(Split, ends, strict=True)}

    def numbers(self, begin: int, end: int) -> list[int]:
        """Return the pieces that contain rows of the range from `begin` up to, but not including, `end`."""
        return [n for n, start in enumerate(self.starts[:-1]) if start < end and begin < self.starts[n + 1]]

    def piece(self, number: int, tables: Collection[str] = ROW_TABLES) -> Pulled:
        """Read one piece.

        Args:
            number: The number of the piece.
            tables: The tables to read; the others have no rows.

        Returns:
            The rows of the piece, and the catalogue.
        """
        file, group, _ = self._groups[number]
        loaded = {name: pq.ParquetFile(self._files(name)[file]).read_row_group(group) for name in tables}
        return replace(self.described, **loaded)

    @cached_property
    def row_bytes(self) -> float:
        """Bytes in memory per row, over all tables; measured on the last piece, which has the longest histories."""
        piece = self.piece(len(self._groups) - 1)
        return sum(getattr(piece, name).nbytes for name in ROW_TABLES) / max(1, piece.interactions.num_rows)

    def spaced(self, split: Split, most: int) -> Array:
        """Return at most `most` evenly spaced row numbers of a split; all of them if the split has fewer rows."""
        begin, end = self.spans[split]
        return np.arange(begin, end, max(1, -(-(end - begin) // most)))

    def take(self, rows: Array) -> Pulled:
        """Read some rows.

        Args:
            rows: (rows,) int64 row numbers, ascending.

        Returns:
            These rows, and the catalogue.
        """
        cuts = np.searchsorted(rows, self.starts)
        pieces = [self._empty]
        for number in np.flatnonzero(np.diff(cuts)).tolist():
            piece, positions = self.piece(number), rows[cuts[number] : cuts[number + 1]] - self.starts[number]
            pieces.append({name: getattr(piece, name).take(positions) for name in ROW_TABLES})
        return replace(self.described, **{n: pa.concat_tables([piece[n] for piece in pieces]) for n in ROW_TABLES})

    @property
    def _empty(self) -> dict[str, pa.Table]:
        return {name: getattr(self.described, name) for name in ROW_TABLES}

    def digest(self) -> bytes:
        """Return the SHA-256 hash of the bytes of all files."""
        digest = hashlib.sha256((self.folder / "pulled.json").read_bytes())
        for name in TABLES:
            for path in self._files(name):
                with path.open("rb") as file:
                    while block := file.read(_BLOCK):
                        digest.update(block)
        return digest.digest()
