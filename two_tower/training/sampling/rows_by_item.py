"""Where the positives of each item are."""

import torch
from torch import Tensor


class RowsByItem:
    """The positives of each item in order of time."""

    def __init__(self, item: Tensor) -> None:
        """item: codes of the positives, [positives]."""
        self.row = item.argsort(stable=True)
        self.item = item[self.row]
        self.size = len(item)
        self.key = self.item * self.size + self.row  # ascends

    def last(self, item: Tensor, before: Tensor) -> Tensor:
        """Each item's last positive up to the row `before`; its first one where it has none by then."""
        place = torch.searchsorted(self.key, item * self.size + before, right=True) - 1
        there = (place >= 0) & (self.item[place.clamp(min=0)] == item)
        # an item without positives gets any row; it is never drawn
        return self.row[torch.where(there, place, place + 1).clamp(max=self.size - 1)]
