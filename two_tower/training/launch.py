"""The train step of a pipeline: one process, or one for each accelerator of its pod under torchrun."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from two_tower.config import TrainConfig
from two_tower.errors import InputError, StorageError
from two_tower.training.train import choose_device, train

CHECKPOINTS = "checkpoints"  # folder in that of the releases


def train_step(pulled: Path, config: TrainConfig, releases: str, processes: int, folder: Path) -> None:
    """Train on the output of a pull; a step that is tried again in another pod resumes from its last checkpoint.

    Args:
        pulled: Folder of a pull.
        config: Settings. Without `checkpoints`, these are in the folder of the releases.
        releases: Folder or address of the releases.
        processes: Number of processes; each has an accelerator of its own, if there are any.
        folder: Output folder of the model.

    Raises:
        InputError: As for `train`, or the pod has fewer CUDA devices than processes.
        StorageError: The checkpoints cannot be read or written.
    """
    if not config.checkpoints:
        config = replace(config, checkpoints=f"{releases.rstrip('/')}/{CHECKPOINTS}")
    if processes == 1:
        train(pulled, config, folder)
        return
    if choose_device(config.device).type == "cuda" and (devices := torch.cuda.device_count()) < processes:
        raise InputError(
            f"accelerators={processes}, but this pod can use {devices} at a time. Slices of one GPU cannot train one "
            "model together: request whole GPUs, or set accelerators=1."
        )
    defaults = asdict(TrainConfig())
    changed = [f"--set={name}={value}" for name, value in asdict(config).items() if value != defaults[name]]
    launcher = ["--standalone", f"--nproc-per-node={processes}", "-m", "two_tower.training"]
    try:
        torchrun([*launcher, f"--pulled={pulled}", f"--out={folder}", *changed])
    except ChildFailedError as error:
        raise _first_error(error) from error


def _first_error(error: ChildFailedError) -> Exception:
    """The error that ended the first of the processes, if it is one of this project."""
    message: Any = error.get_first_failure()[1].message  # a dict if the process recorded its exception
    kind, _, text = (message["message"] if isinstance(message, dict) else message).partition(": ")
    if kind == "StorageError":
        return StorageError(text)
    return InputError(text) if kind in ("InputError", "DivergedError") else error
