"""Maps each item to the rows of its positives."""

import torch
from torch import Tensor


class RowsByItem:
    """The rows of the positives of each item, in order of time."""

    def __init__(self, item: Tensor) -> None:
        """Sort the rows by item.

        Args:
            item: (positives,) int64, codes in order of time.
        """
        self.row = item.argsort(stable=True)
        self.item = item[self.row]
        self.size = len(item)
        self.key = self.item * self.size + self.row  # ascends

    def last(self, item: Tensor, before: Tensor) -> Tensor:
        """Return each item's last positive up to a row, or its first one if all are later.

        Args:
            item: (items,) int64, codes. An item without positives gets an arbitrary row.
            before: int64 scalar, the last row allowed.

        Returns:
            (items,) int64, rows.
        """
        place = torch.searchsorted(self.key, item * self.size + before, right=True) - 1
        exists = (place >= 0) & (self.item[place.clamp(min=0)] == item)
        return self.row[torch.where(exists, place, place + 1).clamp(max=self.size - 1)]
