"""How the settings in quality.toml were found: from a start, one setting at a time, its best value kept."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from benchmarks.harness import progress
from benchmarks.quality_metrics import evaluate
from benchmarks.quality_models import Ease, ItemKnn, Model, Spectral, Towers
from benchmarks.quality_splits import Split

Space = Mapping[str, Sequence[float]]

SHAPE: Space = {"history_power": (0.3, 0.4), "out_power": (0.3, 0.4), "power": (0.25,)}
SPACES: dict[str, tuple[Model, Space]] = {
    "item_knn": (ItemKnn(), {"neighbours": (20, 50, 200), "shrink": (5.0, 20.0)}),
    "ease": (Ease(), {"ridge": (0.5, 2.0, 4.0)}),
    "spectral": (Spectral(), {"width": (64, 128), **SHAPE}),
    "spectral_64": (Spectral(width=64), SHAPE),
}
# What may be best: closed forms in all dimensions where the inverse fits, else the two filters together.
FULL: tuple[Model, Space] = (
    Ease(10.0, 0.4, 0.2, 0.2, 0.0, 1.0),
    {
        "user_power": (0.3, 0.5),
        "item_power": (0.1, 0.15, 0.25, 0.3),
        "history_power": (0.1, 0.3),
        "out_power": (-0.1, -0.05, 0.05),
        "diagonal": (0.7, 1.3),
        "ridge": (5.0, 7.0, 15.0),
    },
)
BOTH: tuple[Model, Space] = (
    Spectral(1024, 0.5, 0.5, 0.4, 0.4, linear=2.4, linear_history=0.5, linear_user=0.8, linear_out=-0.3),
    {
        "linear": (1.6, 3.5),
        "linear_out": (-0.35, -0.25),
        "linear_user": (0.7, 0.9),
        "history_power": (0.3,),
        "out_power": (0.3,),
        "ridge": (0.05,),
    },
)


def search(name: str, start: Model, space: Space, split: Split, k: int, users: int, seed: int = 0) -> Model:
    """The settings with the largest recall@k + ndcg@k on a sample of users."""
    asked = np.sort(np.random.default_rng(seed).permutation(split.train.shape[0])[:users])
    fit = fitter(split)
    tried: dict[Model, float] = {}

    def score(model: Model) -> float:
        if model not in tried:
            figures = evaluate(fit(model), split, k, asked)
            tried[model] = sum(figures.values())
            progress(f"{name} {_differs(model, start)} {figures}")
        return tried[model]

    best = start
    for setting, values in space.items():
        candidates = [replace(best, **{setting: value}) for value in dict.fromkeys((getattr(best, setting), *values))]
        best = max(candidates, key=score)
    return best


def fitter(split: Split) -> Callable[[Model], Towers]:
    """Fits models one after the other; the last decomposition is kept for those that share it."""
    kept: dict[tuple[float, ...], Any] = {}

    def fit(model: Model) -> Towers:
        if not isinstance(model, Spectral):
            return model.fit(split.train)
        key = (model.width, model.user_power, model.item_power)
        if key not in kept:
            kept.clear()
            kept[key] = model.decomposed(split.train, 0)
        return model.towers(split.train, *kept[key])

    return fit


def _differs(model: Model, start: Model) -> dict[str, Any]:
    return {name: value for name, value in asdict(model).items() if value != getattr(start, name)}
