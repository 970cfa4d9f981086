"""The inputs of a tower for all training rows, packed so that two gathers take a batch, for any number of features."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    """The ids and the numbers of all rows, with the columns of all features side by side.

    Attributes:
        ids: (rows, columns) int32.
        numbers: (rows, columns) float32.
        layout: For each feature in the tower's order, whether it has ids, its first column, and its number of columns;
            0 for a feature of shape (rows,).
    """

    ids: Tensor
    numbers: Tensor
    layout: tuple[tuple[bool, int, int], ...]

    @classmethod
    def of(cls, read: list[Tensor], device: torch.device) -> "Columns":
        """Pack what `Tower.read` returned: for each feature a tensor of shape (rows,) or (rows, n)."""
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
        """Return the inputs of `Tower.embed` for these rows."""
        drawn = {True: self.ids.index_select(0, rows), False: self.numbers.index_select(0, rows)}
        return [
            drawn[of_ids][:, begin : begin + width] if width else drawn[of_ids][:, begin]
            for of_ids, begin, width in self.layout
        ]
