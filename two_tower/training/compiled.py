"""Towers and losses compiled by torch.compile."""

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.losses import JointLoss
from two_tower.training.network.towers import Tower

Embed = Callable[[list[Tensor]], Tensor]


def embedder(tower: Tower, config: TrainConfig, device: torch.device) -> Embed:
    """Return `tower.embed`, compiled if `config.compile` is true: in one graph, for batches of any size.

    Nothing falls back to eager mode: code that cannot be compiled, or is recompiled too often, raises torch's error.

    Raises:
        InputError: The device has no compiler, or the tower has sparse tables, whose gradients torch 2.13 cannot
            compile.
    """
    if not config.compile:
        return tower.embed
    sparse = [m.num_embeddings for m in tower.modules() if isinstance(m, nn.Embedding) and m.sparse]
    if sparse:
        raise InputError(
            f"compile=true does not support sparse tables. Tables of sparse_rows={config.sparse_rows} rows and more "
            f"are sparse; the largest here has {max(sparse)}. "
            f"Set compile=false, or sparse_rows={max(sparse) + 1}, with which each step updates all rows."
        )
    missing = missing_compiler(device.type)
    if missing:
        raise InputError(f"compile=true on {device.type} needs {missing}. Install it, or set compile=false.")
    return _compiled(tower.embed)


def loss_function(loss: JointLoss, config: TrainConfig) -> Callable[..., Tensor]:
    """Return the loss, compiled like the towers if `config.compile` is true."""
    return _compiled(loss.__call__) if config.compile else loss


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Compile in one graph. A search trains many times in one process: each training counts its own recompilations."""
    compiled: Callable[..., Tensor] = torch.compile(  # type: ignore[call-overload]  # whose stubs lack the last one
        function, dynamic=True, fullgraph=True, isolate_recompiles=True
    )
    return compiled


def missing_compiler(device: str) -> str:
    """Return what torch.compile needs for a device type and does not find; empty if nothing is missing."""
    if device == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "the package triton"
        language, name = "C", os.environ.get("CC", "gcc")
    else:
        language, name = "C++", os.environ.get("CXX", "g++")
    return "" if shutil.which(name) else f"a {language} compiler; {name!r} was not found"
