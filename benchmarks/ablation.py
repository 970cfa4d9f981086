"""What ids, side features, counts of activity and history each bring: `python -m benchmarks.ablation [--json F]`.

Each data set is pulled once. Then towers are trained that read more and more of it, all else being as the data set's
repository has it, and each is evaluated as `two-tower run` does: the exported files, the test window, the full
catalogue. The user's id, which no repository of ours feeds to a tower, is added from the interactions.

A data set is cut to `--users` of its users, drawn at random, with all that they did; the features still count what all
users did. `--quick` runs three rows on the checkerboard, whose answer is known.
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
from two_tower.schema import Encoding, Feature, feature
from two_tower.training.network.model import load
from two_tower.training.train import train

DATASETS = ("movielens-1m", "online-retail")
USER, ITEM = "user", "item"  # the features that hold the ids
ACTIVITY = ("user_events", "last_seen", "item_events_7d", "item_events_30d", "item_events")
SLICES = ("cold_users", "cold_items", "tail_items")


@dataclass(frozen=True)
class Fed:
    """What the towers of one row of the table read: kinds of features, and how a history becomes a vector."""

    name: str
    kinds: tuple[str, ...]
    history: str = "mean"


EVERY = ("user id", "item id", "side", "activity", "history")
STEPS = (
    Fed("ids", EVERY[:2]),
    Fed("ids, side features", EVERY[:3]),
    Fed("ids, side features, activity", EVERY[:4]),
    Fed("ids, history", (*EVERY[:2], "history")),
    Fed("all, history by mean", EVERY),
    Fed("all, history by attention", EVERY, "attention"),
    Fed("all but the user's id", EVERY[1:]),
)


def main() -> None:
    parser = arguments(__doc__ or "")
    parser.add_argument("--data-dir", type=Path, help="folder of the raw files; else $TWO_TOWER_DATA/<folder>")
    parser.add_argument("--users", type=int, default=1500, help="drawn from each data set; 0 takes all")
    parser.add_argument("--only", choices=DATASETS, help="this data set alone")
    given = parser.parse_args()
    described = machine()
    names = ("checkerboard",) if given.quick else (given.only,) if given.only else DATASETS
    steps = STEPS[::3] if given.quick else STEPS
    rows = [row for name in names for row in measured(name, given.data_dir, given.users, steps)]
    told = {f"{row['data']}: {row['towers read']}": row[GATED] for row in rows}
    finish(rows, told, described | {"load_after": round(os.getloadavg()[0], 2)}, given.json)


def measured(name: str, data_dir: Path | None, users: int, steps: Sequence[Fed]) -> Iterator[dict[str, Any]]:
    """A row for each baseline and for each step, all on the same events."""
    with tempfile.TemporaryDirectory(prefix="benchmark-ablation-") as temporary:
        folder = Path(temporary)
        progress(f"{name}: pulling")
        with quiet():
            prepare(name, data_dir, folder / "repo")
            settings = settings_from(folder / "repo", [])
            pulled = with_user_id(sampled(pull(folder / "repo", settings.pull, None, folder / "pulled"), users))
        for number, fed in enumerate(steps):
            progress(f"{name}: {fed.name}")
            began = time.perf_counter()
            config = replace(settings.train, history=fed.history, device="cpu")
            history, report = _trained(narrowed(pulled, fed.kinds), config, folder / "model", alone=number > 0)
            seconds = time.perf_counter() - began
            for model in ("popularity", "item_knn"):
                if model in report.metrics:
                    yield _row(name, model, report, model, {})
            more = {"epochs": len(history), "seconds": round(seconds)}
            yield _row(name, fed.name, report, "two_tower", more)


def _trained(pulled: Pulled, config: TrainConfig, folder: Path, *, alone: bool) -> tuple[list[Any], Report]:
    """The history of the training, and what its exported towers reach; `alone`: without the baselines."""
    with quiet():
        history = train(pulled, config, folder)["history"]
        towers = folder / "towers"
        export(load(folder), towers)
        if alone:
            return history, evaluate_towers(pulled, towers, pulled.contract, EvaluationConfig())
        return history, evaluate(pulled, towers, None, EvaluationConfig())


def _row(data: str, name: str, report: Report, model: str, more: dict[str, Any]) -> dict[str, Any]:
    figures = report.metrics[model]
    slices = {s: (report.slices[s][GATED][model] if report.slices[s]["events"] else "") for s in SLICES}
    interval = f"{figures[f'{GATED}_low']:.4f}–{figures[f'{GATED}_high']:.4f}"
    row = {"data": data, "towers read": name, GATED: figures[GATED], "interval": interval}
    events = {f"{s}_events": report.slices[s]["events"] for s in SLICES[:2]}
    return row | {"ndcg@20": figures["ndcg@20"]} | slices | {"epochs": "", "seconds": ""} | more | events


def kind(one: Feature) -> str:
    """What a feature tells of: which it is of all, what it is like, what happened to it lately, or what it took."""
    if one.name in (USER, ITEM):
        return f"{one.name} id"
    if one.encoding == Encoding.HISTORY:
        return "history"
    return "activity" if one.name in ACTIVITY else "side"


def narrowed(pulled: Pulled, kinds: tuple[str, ...]) -> Pulled:
    """The same rows under a contract with the features of these kinds alone."""
    user, item = (
        tuple(f for f in features if kind(f) in kinds) for features in (pulled.contract.user, pulled.contract.item)
    )
    return replace(pulled, contract=replace(pulled.contract, user=user, item=item))


def with_user_id(pulled: Pulled) -> Pulled:
    """With the user's key as one more feature of the user tower, where it has none."""
    contract = pulled.contract
    if any(f.name == USER for f in contract.user):
        return pulled
    added = feature(USER, contract.user_key_dtype.value, {"encoding": "categorical"})
    user = pulled.user.append_column(USER, pulled.interactions[contract.user_key])
    return replace(pulled, contract=replace(contract, user=(added, *contract.user)), user=user)


def sampled(pulled: Pulled, users: int) -> Pulled:
    """What `users` users did, drawn at random; all of it where there are no more, and for 0."""
    every = pulled.interactions[pulled.contract.user_key].combine_chunks().unique().sort()
    if not users or len(every) <= users:
        return pulled
    drawn = every.take(pa.array(np.sort(np.random.default_rng(0).choice(len(every), users, replace=False))))
    kept = pc.is_in(pulled.interactions[pulled.contract.user_key], value_set=drawn)
    tables = {name: getattr(pulled, name).filter(kept) for name in ("interactions", "user", "item")}
    return replace(pulled, **tables)


if __name__ == "__main__":
    main()
