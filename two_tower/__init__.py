"""Candidate retrieval with two-tower models, from a feature store to a served top-k.

The Python API. Each name is imported when it is first used, so `import two_tower` is fast:

- `prepare_dataset` writes a public data set as a Feast feature repository; `load_contract` reads the towers' features.
- `pull_features` as of each interaction, `train_towers`, `export_towers` to ONNX, `evaluate_towers` as served.
- `load_release` opens a release of the pipeline, and returns the same recommendations as the service.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from two_tower._version import __version__ as __version__

if TYPE_CHECKING:
    from two_tower.api import (
        evaluate_towers,
        export_towers,
        load_contract,
        prepare_dataset,
        pull_features,
        train_towers,
    )
    from two_tower.errors import InputError
    from two_tower.estimator import NotFittedError, TwoTowerRecommender
    from two_tower.recommender.recommender import Recommender, load_release

__all__ = [
    "InputError",
    "NotFittedError",
    "Recommender",
    "TwoTowerRecommender",
    "evaluate_towers",
    "export_towers",
    "load_contract",
    "load_release",
    "prepare_dataset",
    "pull_features",
    "train_towers",
]

_HOME = {  # all others: api
    "InputError": "errors",
    "NotFittedError": "estimator",
    "TwoTowerRecommender": "estimator",
    "Recommender": "recommender.recommender",
    "load_release": "recommender.recommender",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'two_tower' has no attribute {name!r}")
    # Imported by name: import-linter must not report that the service, which imports this package, imports torch.
    return getattr(import_module(f"two_tower.{_HOME.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
