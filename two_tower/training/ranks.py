"""Several processes that train one model, as torchrun starts them: each embeds its share, all see every negative."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_gather


@dataclass(frozen=True)
class Ranks:
    """One process among `size`; rank 0 alone writes and speaks."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, length: int) -> slice:
        """The part of `length` rows that is this rank's."""
        return slice(length * self.rank // self.size, length * (self.rank + 1) // self.size)

    def padded(self, rows: Tensor) -> Tensor:
        """The part that is this rank's of rows that all ranks are to embed, as long as any other rank's."""
        each = -(-len(rows) // self.size)
        return torch.cat([rows, rows[-1:].expand(each * self.size - len(rows))])[
            each * self.rank : each * (self.rank + 1)
        ]

    def gathered(self, embedding: Tensor, length: int) -> Tensor:
        """The embeddings of all ranks' parts, [length, dim]; gradients flow back to where each was made."""
        if self.size == 1:
            return embedding
        parts = all_gather(embedding.contiguous())  # type: ignore[no-untyped-call]
        return torch.cat(parts)[:length]

    def joined(self, own: Tensor, length: int) -> Tensor:
        """The ranks' `share`s of `length` rows one after another, [length, dim]; gradients flow back likewise."""
        if self.size == 1:
            return own
        sizes = [len(range(length)[Ranks(rank, self.size).share(length)]) for rank in range(self.size)]
        parts = all_gather(torch.cat([own, own.new_zeros(max(sizes) - len(own), own.shape[1])]))  # type: ignore[no-untyped-call]
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    def sum_gradients(self, network: nn.Module) -> None:
        """Add up what each rank's part of the loss says, in one message."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in network.parameters()]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        for p, summed in zip(network.parameters(), torch.split(flat, [g.numel() for g in gradients]), strict=True):
            p.grad = summed.view_as(p)

    def total(self, value: Tensor) -> Tensor:
        """The sum over all ranks, without a gradient."""
        summed = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(summed)
        return summed

    def told(self, value: float) -> float:
        """The number as rank 0 has it, so that all ranks decide alike."""
        box = [value]
        if self.size > 1:
            distributed.broadcast_object_list(box, src=0)
        return box[0]


@contextmanager
def ranks(device: torch.device) -> Iterator[Ranks]:
    """The place of this process, from the environment that torchrun sets; alone without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # a device a process, where a node has several
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
