"""Coordinate search for the settings in quality.toml: one setting at a time, keeping its best value."""

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
# Candidates for `best`: the closed form if the inverse fits into memory (FULL), else both filters (BOTH).
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
    Spectral(1024, 0.5, 0.5, 0.3, 0.5, ridge=0.1, linear=3.0, linear_history=0.5, linear_user=0.8, linear_out=-0.15),
    {
        "linear_out": (-0.2, -0.1),
        "linear_user": (0.7, 0.9),
        "ridge": (0.0, 0.05),
        "linear": (1.6, 2.4),
        "out_power": (0.4, 0.6),
    },
)
# The same for data with ordered histories.
ORDERED: tuple[Model, Space] = (
    Spectral(1024, 0.5, 0.5, 0.4, 0.6, 0.0, 0.02, 1.6, 0.3, 0.7, -0.1, recency=1.0),
    {
        "recency": (0.8, 1.2, 1.5),
        "linear_out": (-0.15, -0.05),
        "linear_user": (0.6, 0.8),
        "ridge": (0.0, 0.05),
        "linear": (1.2, 2.4),
        "out_power": (0.5,),
        "history_power": (0.5,),
    },
)


def search(
    name: str, start: Model, space: Space, split: Split, k: int, users: int, finalists: int = 1, seed: int = 0
) -> Model:
    """Find the settings with the largest recall@k + ndcg@k on a sample of users.

    With `finalists` above 1, that many of the best settings are evaluated again on all users to choose the best.
    """
    everyone = np.random.default_rng(seed).permutation(split.train.shape[0])
    fit = fitter(split)
    scores: dict[Model, float] = {}

    def score(model: Model, selected: np.ndarray) -> float:
        figures = evaluate(fit(model), split, k, np.sort(selected))
        progress(f"{name}, {len(selected)} users, {_differs(model, start)} {figures}")
        return sum(figures.values())

    def on_sample(model: Model) -> float:
        if model not in scores:
            scores[model] = score(model, everyone[:users])
        return scores[model]

    best = start
    for setting, values in space.items():
        candidates = [replace(best, **{setting: value}) for value in dict.fromkeys((getattr(best, setting), *values))]
        best = max(candidates, key=on_sample)
    if finalists == 1:
        return best
    last = sorted(scores, key=lambda model: -scores[model])[:finalists]
    return max(last, key=lambda model: score(model, everyone))


def fitter(split: Split) -> Callable[[Model], Towers]:
    """Return a fit function that keeps the last decomposition for models that share it."""
    cache: dict[tuple[float, ...], Any] = {}

    def fit(model: Model) -> Towers:
        if not isinstance(model, Spectral):
            return model.fit(split.train)
        key = (model.width, model.user_power, model.item_power)
        if key not in cache:
            cache.clear()
            cache[key] = model.decomposed(split.train, 0)
        return model.towers(split.train, *cache[key], split.age)

    return fit


def _differs(model: Model, start: Model) -> dict[str, Any]:
    return {name: value for name, value in asdict(model).items() if value != getattr(start, name)}
