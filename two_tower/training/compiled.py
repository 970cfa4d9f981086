"""Towers and losses compiled by torch.compile, or a word on why they cannot be."""

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.losses import joint_loss
from two_tower.training.network.towers import Tower

Embed = Callable[[list[Tensor]], Tensor]
Loss = Callable[..., Tensor]


def embedder(tower: Tower, config: TrainConfig, device: torch.device) -> Embed:
    """`tower.embed`, compiled where `config.compile` asks for it: in one graph, for batches of any size.

    Raises InputError where the device's code cannot be built, and for sparse tables, whose gradients torch 2.13 cannot
    compile. Nothing falls back: what cannot be compiled, or would be compiled over and over, raises as torch says it.
    """
    if not config.compile:
        return tower.embed
    sparse = [m.num_embeddings for m in tower.modules() if isinstance(m, nn.Embedding) and m.sparse]
    if sparse:
        raise InputError(
            "compile=true builds no tower with sparse tables, which are those of "
            f"sparse_rows={config.sparse_rows} rows and more; here one has {max(sparse)}. "
            f"Give compile=false, or sparse_rows={max(sparse) + 1}, with which each step moves all rows."
        )
    missing = lacking(device.type)
    if missing:
        raise InputError(
            f"compile=true builds code for {device.type}, which needs {missing}. Install it, or give compile=false."
        )
    return _compiled(tower.embed)


def loss_function(config: TrainConfig) -> Loss:
    """`joint_loss`, compiled where `config.compile` asks for it, as the towers are."""
    return _compiled(joint_loss) if config.compile else joint_loss


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """In one graph. A search trains many times in one process: what one training compiles counts for it alone."""
    compiled: Callable[..., Tensor] = torch.compile(  # type: ignore[call-overload]  # whose stubs lack the last one
        function, dynamic=True, fullgraph=True, isolate_recompiles=True
    )
    return compiled


def lacking(device: str) -> str:
    """What a compiler for the device needs and is not there; empty where all is."""
    if device == "cuda":
        if importlib.util.find_spec("triton") is None:
            return "the package triton"
        language, name = "C", os.environ.get("CC", "gcc")
    else:
        language, name = "C++", os.environ.get("CXX", "g++")
    return "" if shutil.which(name) else f"a {language} compiler, of which {name!r} is not there"
