"""What a tower reads of all training rows, packed so that a batch is drawn in two gathers however many features."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    """The ids and the numbers of all rows, each feature's columns beside the next one's.

    ids: int32 [rows, columns]. numbers: float32 [rows, columns]. layout: of each feature in the tower's order, whether
    it is made of ids, its first column, and how many it has; 0 for a feature without an axis of its own, [rows].
    """

    ids: Tensor
    numbers: Tensor
    layout: tuple[tuple[bool, int, int], ...]

    @classmethod
    def of(cls, read: list[Tensor], device: torch.device) -> "Columns":
        """Of what `Tower.read` gave, one [rows] or [rows, n] tensor a feature."""
        layout = []
        parts: dict[bool, list[Tensor]] = {True: [], False: []}
        used = {True: 0, False: 0}
        for one in read:
            of_ids = not one.is_floating_point()
            wide = one if one.dim() == 2 else one.unsqueeze(1)
            layout.append((of_ids, used[of_ids], one.shape[1] if one.dim() == 2 else 0))
            parts[of_ids].append(wide)
            used[of_ids] += wide.shape[1]
        rows = len(read[0])
        ids = torch.cat([p.to(torch.int32) for p in parts[True]] or [torch.zeros(rows, 0, dtype=torch.int32)], dim=1)
        numbers = torch.cat([p.float() for p in parts[False]] or [torch.zeros(rows, 0)], dim=1)
        return cls(ids.to(device), numbers.to(device), tuple(layout))

    def take(self, rows: Tensor) -> list[Tensor]:
        """What `Tower.embed` takes, of these rows."""
        drawn = {True: self.ids.index_select(0, rows), False: self.numbers.index_select(0, rows)}
        return [
            drawn[of_ids][:, begin : begin + width] if width else drawn[of_ids][:, begin]
            for of_ids, begin, width in self.layout
        ]
