"""Checkpoints from which an interrupted run resumes: safetensors and JSON in a folder that is written in full or not.

The checkpoints of a run are in a folder of their own, named by a hash of the pulled data and the settings. So a run
finds only its own checkpoints, for any location of its artifacts. The root is a local folder or an object store.
"""

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
from safetensors.torch import load_file, save_file
from torch import Tensor

from two_tower._version import __version__
from two_tower.config import TrainConfig
from two_tower.data.pulled import TABLES, Pulled
from two_tower.storage import open_storage

TENSORS, PROGRESS = "state.safetensors", "progress.json"


class Checkpoints:
    """The checkpoints of one run; the newest is kept."""

    def __init__(self, root: str, run: str) -> None:
        self.storage = open_storage(f"{root.rstrip('/')}/{run}")

    def save(self, step: int, tensors: dict[str, Tensor], progress: dict[str, Any]) -> None:
        """Write the state after `step` steps, then remove older checkpoints.

        Args:
            step: Number of steps done.
            tensors: State by name.
            progress: Further state, serialisable as JSON.
        """
        older, name = self.storage.folders(), f"{step:012d}"
        if self.storage.exists(f"{name}/{PROGRESS}"):
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / TENSORS
            save_file({key: value.cpu().contiguous().clone() for key, value in tensors.items()}, file)
            self.storage.write_folder(name, {TENSORS: file, PROGRESS: json.dumps(progress).encode()})
        for folder in older:
            if folder != name:
                self.storage.remove_folder(folder)

    def newest(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the tensors and the progress of the last checkpoint, or None."""
        for name in reversed(self.storage.folders()):
            with tempfile.TemporaryDirectory() as cache:
                try:
                    progress = json.loads(self.storage.read(f"{name}/{PROGRESS}"))
                    return load_file(self.storage.local(name, Path(cache)) / TENSORS), progress
                except FileNotFoundError:  # in an object store, a process was killed while it wrote or removed it
                    continue
        return None

    def clear(self) -> None:
        """Remove all checkpoints of the run, at its end."""
        for name in self.storage.folders():
            self.storage.remove_folder(name)


def run_key(pulled: Pulled, config: TrainConfig) -> str:
    """Return a name for the training of these settings on these data by this version, 16 hexadecimal digits."""
    digest = hashlib.sha256(f"{__version__} {config.to_json()} {pulled.contract.to_json()}".encode())
    sink = _Sink(digest)
    for name in TABLES:
        table: pa.Table = getattr(pulled, name).combine_chunks()
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), table.schema.remove_metadata()) as stream:
            stream.write_table(table.replace_schema_metadata())
    return digest.hexdigest()[:16]


class _Sink:
    """A file that only hashes what is written to it."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self.digest = digest

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return len(data)

    def flush(self) -> None: ...

    def close(self) -> None: ...
