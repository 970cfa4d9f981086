"""Ablation study: the gain from ids, side features, activity counts and history.

    python -m benchmarks.ablation [--json F]

The features of each data set are pulled once. Then towers are trained on growing subsets of the features, with the
other settings of the data set's repository. Each model is evaluated as `two-tower run` does it: the exported files, the
test window, the full catalogue. The user id, which is not a feature in our repositories, is added from the
interactions.

Each data set is reduced to a random sample of `--users` users with all of their interactions; the activity features
still count the interactions of all users. `--quick` runs three rows on the checkerboard, which has a known answer.
"""

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.harness import arguments, finish, machine, progress, quiet
from pipelines.local.run import settings_from
from two_tower.config import EvaluationConfig, TrainConfig
from two_tower.data.features import pull
from two_tower.data.pulled import Pulled
from two_tower.datasets.prepare import prepare
from two_tower.evaluation.evaluate import GATED, Report, evaluate, evaluate_towers
from two_tower.exporting.export import export
from two_tower.schema import Encoding, Feature
from two_tower.schema import feature as make_feature
from two_tower.training.network.model import load
from two_tower.training.train import train

DATASETS = ("movielens-1m", "online-retail")
USER, ITEM = "user", "item"  # the features that hold the ids
ACTIVITY = ("user_events", "last_seen", "item_events_7d", "item_events_30d", "item_events")
SLICES = ("cold_users", "cold_items", "tail_items")


@dataclass(frozen=True)
class FeatureSet:
    """One row of the table: the kinds of features that the towers read, and the pooling of the history."""

    name: str
    kinds: tuple[str, ...]
    history: str = "mean"


EVERY = ("user id", "item id", "side", "activity", "history")
STEPS = (
    FeatureSet("ids", EVERY[:2]),
    FeatureSet("ids, side features", EVERY[:3]),
    FeatureSet("ids, side features, activity", EVERY[:4]),
    FeatureSet("ids, history", (*EVERY[:2], "history")),
    FeatureSet("all, history by mean", EVERY),
    FeatureSet("all, history by attention", EVERY, "attention"),
    FeatureSet("all but the user's id", EVERY[1:]),
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data-dir", type=Path, help="Folder of the raw files. Default: $TWO_TOWER_DATA/<folder>.")
    parser.add_argument(
        "--users", type=int, default=1500, help="Number of users to sample from each data set. 0: all users."
    )
    parser.add_argument("--only", choices=DATASETS, help="Run this data set only.")
    args = parser.parse_args()
    machine_info = machine()
    names = ("checkerboard",) if args.quick else (args.only,) if args.only else DATASETS
    steps = STEPS[::3] if args.quick else STEPS
    rows = [row for name in names for row in measure(name, args.data_dir, args.users, steps)]
    claims = {f"{row['data']}: {row['towers read']}": row[GATED] for row in rows}
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def measure(name: str, data_dir: Path | None, users: int, steps: Sequence[FeatureSet]) -> Iterator[dict[str, Any]]:
    """Yield one row per baseline and one per feature set, all on the same events."""
    with tempfile.TemporaryDirectory(prefix="benchmark-ablation-") as temporary:
        folder = Path(temporary)
        progress(f"{name}: pulling")
        with quiet():
            prepare(name, data_dir, folder / "repo")
            settings = settings_from(folder / "repo", [])
            pulled = with_user_id(sampled(pull(folder / "repo", settings.pull, None, folder / "pulled"), users))
        for number, feature_set in enumerate(steps):
            progress(f"{name}: {feature_set.name}")
            began = time.perf_counter()
            config = replace(settings.train, history=feature_set.history, device="cpu")
            history, report = _trained(narrowed(pulled, feature_set.kinds), config, folder / "model", alone=number > 0)
            seconds = time.perf_counter() - began
            for model in ("popularity", "item_knn", "cooccurrence", "ease"):
                if model in report.metrics:
                    yield _row(name, model, report, model, {})
            extra = {"epochs": len(history), "seconds": round(seconds)}
            yield _row(name, feature_set.name, report, "two_tower", extra)


def _trained(pulled: Pulled, config: TrainConfig, folder: Path, *, alone: bool) -> tuple[list[Any], Report]:
    """Train, export and evaluate; returns the training history and the report. `alone`: without the baselines."""
    with quiet():
        history = train(pulled, config, folder)["history"]
        towers = folder / "towers"
        export(load(folder), towers)
        if alone:
            return history, evaluate_towers(pulled, towers, pulled.contract, EvaluationConfig())
        return history, evaluate(pulled, towers, None, EvaluationConfig())


def _row(data: str, name: str, report: Report, model: str, extra: dict[str, Any]) -> dict[str, Any]:
    figures = report.metrics[model]
    slices = {s: (report.slices[s][GATED][model] if report.slices[s]["events"] else "") for s in SLICES}
    interval = f"{figures[f'{GATED}_low']:.4f}–{figures[f'{GATED}_high']:.4f}"
    row = {"data": data, "towers read": name, GATED: figures[GATED], "interval": interval}
    events = {f"{s}_events": report.slices[s]["events"] for s in SLICES[:2]}
    return row | {"ndcg@20": figures["ndcg@20"]} | slices | {"epochs": "", "seconds": ""} | extra | events


def kind(feature: Feature) -> str:
    """Classify a feature: user id, item id, side feature, activity or history."""
    if feature.name in (USER, ITEM):
        return f"{feature.name} id"
    if feature.encoding == Encoding.HISTORY:
        return "history"
    return "activity" if feature.name in ACTIVITY else "side"


def narrowed(pulled: Pulled, kinds: tuple[str, ...]) -> Pulled:
    """Keep only the features of these kinds in the contract; the rows stay the same."""
    user, item = (
        tuple(f for f in features if kind(f) in kinds) for features in (pulled.contract.user, pulled.contract.item)
    )
    return replace(pulled, contract=replace(pulled.contract, user=user, item=item))


def with_user_id(pulled: Pulled) -> Pulled:
    """Add the user key as a feature of the user tower, unless it already is one."""
    contract = pulled.contract
    if any(f.name == USER for f in contract.user):
        return pulled
    added = make_feature(USER, contract.user_key_dtype.value, {"encoding": "categorical"})
    user = pulled.user.append_column(USER, pulled.interactions[contract.user_key])
    return replace(pulled, contract=replace(contract, user=(added, *contract.user)), user=user)


def sampled(pulled: Pulled, users: int) -> Pulled:
    """Keep the events of a random sample of `users` users; 0, or a number that is not smaller, keeps all."""
    every = pulled.interactions[pulled.contract.user_key].combine_chunks().unique().sort()
    if not users or len(every) <= users:
        return pulled
    drawn = every.take(pa.array(np.sort(np.random.default_rng(0).choice(len(every), users, replace=False))))
    kept = pc.is_in(pulled.interactions[pulled.contract.user_key], value_set=drawn)
    tables = {name: getattr(pulled, name).filter(kept) for name in ("interactions", "user", "item")}
    return replace(pulled, **tables)


if __name__ == "__main__":
    main()
