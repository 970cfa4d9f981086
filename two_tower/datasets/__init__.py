"""Built-in data sets, loaded by name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from two_tower._version import __version__
from two_tower.datasets import checkerboard, movielens, online_retail, sample, source
from two_tower.datasets.preferences import Oracle
from two_tower.datasets.source import Source
from two_tower.datasets.tables import Tables
from two_tower.errors import InputError, unknown

__all__ = ["DATASETS", "Dataset", "Oracle", "Tables", "fingerprint", "load", "locate", "oracle"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A built-in data set: public files (`source` and `read`), or a simulation (`simulate` and optionally `oracle`).

    Attributes:
        source: The location of the public files.
        read: Reads the files of a folder.
        simulate: Simulates the data set from a seed.
        oracle: Returns the true preferences of the simulation with a seed.
    """

    source: Source | None = None
    read: Callable[[Path], Tables] | None = None
    simulate: Callable[[int], Tables] | None = None
    oracle: Callable[[int], Oracle] | None = None


DATASETS: dict[str, Dataset] = {
    "checkerboard": Dataset(simulate=checkerboard.load),
    "movielens-100k": Dataset(source=movielens.ML_100K, read=movielens.load_100k),
    "movielens-1m": Dataset(source=movielens.ML_1M, read=movielens.load_1m),
    "sample": Dataset(simulate=sample.load, oracle=sample.oracle),
    "online-retail": Dataset(source=online_retail.ONLINE_RETAIL, read=online_retail.load),
}


def load(name: str, data_dir: Path | None = None, seed: int = 0) -> Tables:
    """Load a data set.

    Args:
        name: The name of the data set.
        data_dir: The folder of the raw files; see `locate`. Not used for a simulated data set.
        seed: The seed of a simulated data set. Not used for others.

    Returns:
        Users, items and interactions.

    Raises:
        InputError: If the name is unknown, or files are missing or not valid.
    """
    dataset = _dataset(name)
    if dataset.simulate is not None:
        return dataset.simulate(seed)
    assert dataset.read is not None
    return dataset.read(locate(name, data_dir))


def locate(name: str, data_dir: Path | None) -> Path:
    """Find or download the raw files of a public data set.

    Args:
        name: The name of the data set.
        data_dir: The folder of the files. None: $TWO_TOWER_DATA/<folder>, else the cache, else a download to the cache.

    Returns:
        The folder of the files.

    Raises:
        InputError: If the name is unknown, the data set is simulated, `data_dir` lacks a file, or the download fails.
    """
    public = _dataset(name).source
    if public is None:
        raise InputError(f"data set {name!r} is simulated and has no files. Omit the data folder.")
    return source.locate(public, data_dir)


def fingerprint(name: str, data_dir: Path | None, seed: int = 0) -> str:
    """Return a text that changes when the data change.

    Args:
        name: The name of the data set.
        data_dir: The folder of the raw files; see `locate`.
        seed: The seed of a simulated data set.

    Returns:
        A hash of the raw files. For a simulated data set: its name, the seed, and the version of this library.

    Raises:
        InputError: If the name is unknown, or files are missing.
    """
    public = _dataset(name).source
    if public is None:
        return f"{name}-{seed}-{__version__}"
    return source.digest(source.files(public, source.locate(public, data_dir)))


def oracle(name: str, seed: int = 0) -> Oracle | None:
    """Return the true preferences of a simulated data set, or None if the data set has no oracle."""
    make = _dataset(name).oracle
    return None if make is None else make(seed)


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]
