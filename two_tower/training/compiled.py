"""Towers compiled by torch.compile, or a word on why they cannot be."""

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor, nn

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.towers import Tower

Embed = Callable[[list[Tensor]], Tensor]


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
    compiled: Embed = torch.compile(tower.embed, dynamic=True, fullgraph=True)
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
