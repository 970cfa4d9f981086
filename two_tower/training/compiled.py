"""Towers compiled by torch.compile, or a word on why they cannot be."""

import importlib.util
import os
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.towers import Tower

Embed = Callable[[list[Tensor]], Tensor]


def embedder(tower: Tower, config: TrainConfig, device: torch.device) -> Embed:
    """`tower.embed`, compiled where `config.compile` asks for it: in one graph, for batches of any size.

    Raises InputError where the device's code cannot be built. Nothing falls back: what cannot be compiled, or would be
    compiled over and over, raises as torch says it. On a CUDA device this is not tested.
    """
    if not config.compile:
        return tower.embed
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
