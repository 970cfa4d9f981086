"""The data sets that a run can name."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from two_tower._version import __version__
from two_tower.datasets import checkerboard, movielens, online_retail, sample, source
from two_tower.datasets.source import Source
from two_tower.datasets.tables import Tables
from two_tower.datasets.world import Oracle
from two_tower.errors import InputError, unknown

__all__ = ["DATASETS", "Dataset", "Oracle", "Tables", "fingerprint", "load", "locate", "oracle"]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A simulated world (`simulate`, from a seed, and its `oracle`), or public files (`source`) and their reader."""

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
    """A data set by its name. `seed` matters to a simulated world only, `data_dir` to the others.

    Raises InputError for an unknown name, absent files, and files that cannot be read.
    """
    dataset = _dataset(name)
    if dataset.simulate is not None:
        return dataset.simulate(seed)
    assert dataset.read is not None
    return dataset.read(locate(name, data_dir))


def locate(name: str, data_dir: Path | None) -> Path:
    """The folder of the raw files: `data_dir`, else $TWO_TOWER_DATA/<folder>, else the cache, else a download."""
    found = _dataset(name).source
    if found is None:
        raise InputError(f"data set {name!r} is simulated and has no files.")
    return source.locate(found, data_dir)


def fingerprint(name: str, data_dir: Path | None, seed: int = 0) -> str:
    """A hash that changes when the raw files do; of a simulated world, with its seed or the release of this library."""
    found = _dataset(name).source
    if found is None:
        return f"{name}-{seed}-{__version__}"
    return source.digest(source.files(found, source.locate(found, data_dir)))


def oracle(name: str, seed: int = 0) -> Oracle | None:
    """The true preferences of a simulated world that knows them, else None."""
    make = _dataset(name).oracle
    return None if make is None else make(seed)


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name]
