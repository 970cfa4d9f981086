"""Several processes that train one model, as torchrun starts them: each embeds its share, all see every negative."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn


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
        if self.size == 1:
            return rows
        each = -(-len(rows) // self.size)
        return torch.cat([rows, rows[-1:].expand(each * self.size - len(rows))])[
            each * self.rank : each * (self.rank + 1)
        ]

    def gathered(self, embedding: Tensor, length: int) -> Tensor:
        """The embeddings of all ranks' parts, [length, dim]; gradients flow back to where each was made."""
        if self.size == 1:
            return embedding
        return _every(embedding)[:length]

    def joined(self, own: Tensor, length: int) -> Tensor:
        """The ranks' `share`s of `length` rows one after another, [length, ...]; gradients flow back likewise."""
        if self.size == 1:
            return own
        sizes = [len(range(length)[Ranks(rank, self.size).share(length)]) for rank in range(self.size)]
        return _one_after_another(own, sizes)

    def sum_gradients(self, dense: list[nn.Parameter], sparse: list[nn.Parameter]) -> None:
        """Add up what each rank's part of the loss says, of sparse tables only the rows that some rank touched."""
        if self.size == 1:
            return
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in dense]
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        for p, summed in zip(dense, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            p.grad = summed.view_as(p)
        for table in sparse:
            self._sum_rows(table)

    def _sum_rows(self, table: nn.Parameter) -> None:
        """Every rank adds up the same rows in the same order, and so has the same bits."""
        assert table.grad is not None
        own = table.grad.coalesce()
        ids, rows = own.indices()[0], own.values()
        sizes = _one_after_another(torch.tensor([len(ids)], device=ids.device), [1] * self.size).tolist()
        every = _one_after_another(ids, sizes).unsqueeze(0)
        summed = torch.sparse_coo_tensor(
            every, _one_after_another(rows, sizes), table.shape, check_invariants=False
        ).coalesce()
        table.grad = summed

    def total(self, value: Tensor) -> Tensor:
        """The sum over all ranks, without a gradient."""
        summed = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(summed)
        return summed

    def differ(self, value: int) -> bool:
        """Whether some rank has another number; what all ranks are told."""
        if self.size == 1:
            return False
        values: list[int | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return len(set(values)) > 1

    def told(self, value: float) -> float:
        """The number as rank 0 has it, so that all ranks decide alike."""
        box = [value]
        if self.size > 1:
            distributed.broadcast_object_list(box, src=0)
        return box[0]


def _one_after_another(own: Tensor, sizes: list[int]) -> Tensor:
    """All ranks' rows, of which each has so many; gradients flow back to where each was made."""
    parts = _every(torch.cat([own, own.new_zeros(max(sizes) - len(own), *own.shape[1:])])).chunk(len(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _every(own: Tensor) -> Tensor:
    """The tensors of all ranks, of one shape each, one after another."""
    every: Tensor = _Gather.apply(own)  # type: ignore[no-untyped-call]
    return every


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, own: Tensor) -> Tensor:
        every = own.new_empty(distributed.get_world_size() * len(own), *own.shape[1:])
        distributed.all_gather_single(every, own.contiguous())
        return every

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        own = gradient.new_empty(len(gradient) // distributed.get_world_size(), *gradient.shape[1:])
        distributed.reduce_scatter_single(own, gradient.contiguous())
        return own


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
