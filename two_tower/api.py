"""The steps of the pipeline as Python functions. Settings are keyword arguments, with the same names as in `--set`."""

import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from two_tower.config import EvaluationConfig, PullConfig, TrainConfig
from two_tower.data import features
from two_tower.data.pulled import Pulled
from two_tower.data.repository import apply
from two_tower.datasets.prepare import prepare as write_repository
from two_tower.evaluation.evaluate import Report, evaluate
from two_tower.exporting.export import export
from two_tower.schema import Contract
from two_tower.training.network.model import Model, load
from two_tower.training.train import train


def prepare_dataset(dataset: str, folder: str | Path, data_dir: str | Path | None = None) -> Path:
    """Write a public data set, or a simulated one, as a Feast feature repository, and return its folder.

    Args:
        dataset: sample, checkerboard, movielens-100k, movielens-1m or online-retail.
        folder: The output folder.
        data_dir: Folder with the raw files. None: they are downloaded.

    Returns:
        The folder.

    Raises:
        InputError: The raw files cannot be found or downloaded.
    """
    write_repository(dataset, Path(data_dir) if data_dir else None, Path(folder))
    return Path(folder)


def load_contract(repo: str | Path) -> Contract:
    """Return the features of each tower from the feature services. Raises InputError if one is not valid."""
    return features.contract(apply(Path(repo)))


def pull_features(repo: str | Path, as_of: datetime | None = None, **settings: Any) -> Pulled:
    """Join features to each interaction up to `as_of`, and split by time. `settings` are those of PullConfig."""
    with tempfile.TemporaryDirectory() as folder:
        return features.pull(Path(repo).resolve(), PullConfig.of(settings), as_of, Path(folder))


def train_towers(pulled: Pulled, **settings: Any) -> Model:
    """Train both towers jointly. `settings` are those of TrainConfig, such as `dim=64` or `epochs=5`."""
    with tempfile.TemporaryDirectory() as folder:
        train(pulled, TrainConfig.of(settings), Path(folder))
        return load(Path(folder))


def export_towers(model: Model, folder: str | Path) -> Path:
    """Write `user_tower.onnx` and `item_tower.onnx`, which take raw feature values, and return their folder."""
    export(model, Path(folder))
    return Path(folder)


def evaluate_towers(pulled: Pulled, towers: str | Path, **settings: Any) -> Report:
    """Evaluate the exported towers and the baselines on the test window. `settings` are those of EvaluationConfig."""
    return evaluate(pulled, Path(towers), None, EvaluationConfig.of(settings))
