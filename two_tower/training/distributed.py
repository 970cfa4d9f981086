"""Training of one model by several processes, as torchrun starts them.

Each process embeds its share of a batch's users and items. The item embeddings are gathered, so every process sees
every negative.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class ProcessGroup:
    """The processes that train one model. Only rank 0 writes files and prints.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def share(self, length: int) -> slice:
        """Return the part of `length` rows that belongs to this process."""
        return slice(length * self.rank // self.size, length * (self.rank + 1) // self.size)

    def padded_share(self, rows: Tensor) -> Tensor:
        """Return this process's part of (length,) row numbers, padded to the same length in every process."""
        if self.size == 1:
            return rows
        each = -(-len(rows) // self.size)
        return torch.cat([rows, rows[-1:].expand(each * self.size - len(rows))])[
            each * self.rank : each * (self.rank + 1)
        ]

    def gather_padded(self, embedding: Tensor, length: int) -> Tensor:
        """Gather the embeddings of every `padded_share`, (length, dim); gradients flow back to their process."""
        if self.size == 1:
            return embedding
        return _all_gather(embedding)[:length]

    def gather_shares(self, share: Tensor, length: int) -> Tensor:
        """Gather the rows of every `share` of `length` rows, (length, ...); gradients flow back to their process."""
        if self.size == 1:
            return share
        sizes = [len(range(length)[ProcessGroup(rank, self.size).share(length)]) for rank in range(self.size)]
        return _concatenated(share, sizes)

    def sum_gradients(self, dense: list[nn.Parameter], sparse: list[nn.Parameter]) -> None:
        """Sum the gradients of all processes; of sparse tables, only the rows that some process touched."""
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
        """Sum the same rows in the same order in every process, so that all get the same bits."""
        assert table.grad is not None
        gradient = table.grad.coalesce()
        ids, rows = gradient.indices()[0], gradient.values()
        sizes = _concatenated(torch.tensor([len(ids)], device=ids.device), [1] * self.size).tolist()
        all_ids = _concatenated(ids, sizes).unsqueeze(0)
        summed = torch.sparse_coo_tensor(
            all_ids, _concatenated(rows, sizes), table.shape, check_invariants=False
        ).coalesce()
        table.grad = summed

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, without a gradient."""
        summed = value.detach().clone()
        if self.size > 1:
            distributed.all_reduce(summed)
        return summed

    def differs(self, value: int) -> bool:
        """Return whether processes have different numbers; the result is the same in all of them."""
        if self.size == 1:
            return False
        values: list[int | None] = [None] * self.size
        distributed.all_gather_object(values, value)
        return len(set(values)) > 1

    def barrier(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            distributed.barrier()

    def broadcast(self, value: float) -> float:
        """Return the number that rank 0 has, so that all processes decide alike."""
        values = [value]
        if self.size > 1:
            distributed.broadcast_object_list(values, src=0)
        return values[0]


def _concatenated(rows: Tensor, sizes: list[int]) -> Tensor:
    """Concatenate the rows of all processes, `sizes[rank]` of each; gradients flow back to their process."""
    parts = _all_gather(torch.cat([rows, rows.new_zeros(max(sizes) - len(rows), *rows.shape[1:])])).chunk(len(sizes))
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _all_gather(tensor: Tensor) -> Tensor:
    """Concatenate the tensors of all processes, which have one shape."""
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        gathered = tensor.new_empty(distributed.get_world_size() * len(tensor), *tensor.shape[1:])
        distributed.all_gather_single(gathered, tensor.contiguous())
        return gathered

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        part = gradient.new_empty(len(gradient) // distributed.get_world_size(), *gradient.shape[1:])
        distributed.reduce_scatter_single(part, gradient.contiguous())
        return part


@contextmanager
def process_group(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that torchrun started, by its environment variables; without them, return a group of one."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield ProcessGroup()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))  # a device for each process of a node
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield ProcessGroup(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
