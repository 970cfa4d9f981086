"""The evaluation: what will be served, as it would have been served.

Every test event is ranked through the ONNX towers against the catalogue of the newest index refresh at its time, with
the user's features as of the event and all that the user had seen by then left out. The baselines, and the oracle where
the world is simulated, answer the same question.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.config import EvaluationConfig
from two_tower.data.pulled import Pulled, Split
from two_tower.evaluation import metrics
from two_tower.evaluation.baselines import ItemKnn, Popularity
from two_tower.evaluation.ranking import COVERAGE_AT, Scorer, Task, rank, to_micros
from two_tower.evaluation.scorers import OracleScorer, TowerScorer
from two_tower.inputs import Array
from two_tower.schema import Contract

GATED = "recall@20"  # the metric of the promotion gate and of the slices
TWO_TOWER = "two_tower"
POPULARITY = "popularity"
HEAD = 0.2
CURVE_AT = (1, 2, 5, 10, 20, 50, 100)
BANDS = 10  # of equally many items, from the most popular in training to the least
TAKEN = "taken"


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was measured.

    metrics: by model: recall, ndcg and mrr at 10, 20 and 100, coverage@20, and the bounds of recall@20's 95 % interval
    as recall@20_low and recall@20_high.
    slices: cold_users, cold_items, tail_items: the number of `events` and `users`, and recall@20 by model.
    counts: events, users and catalogue items; left_out: events on an item that the user had seen already;
    not_in_index: events on an item that the index did not hold yet, a miss for every model.
    events: fingerprint of the ranked events; two reports with the same one may be compared user by user.
    per_user: by model, recall@20 of each user, in one order for all reports with these events.
    curve: by model, recall at each k of CURVE_AT.
    exposure: by model, the share of the places in the users' last first-20 that goes to each band of popularity; as
    `taken`, the share of the ranked events.
    """

    metrics: dict[str, dict[str, float]]
    slices: dict[str, dict[str, Any]]
    counts: dict[str, int]
    events: str
    per_user: dict[str, list[float]]
    curve: dict[str, list[float]]
    exposure: dict[str, list[float]]

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Report":
        return cls(**json.loads(path.read_text()))


def evaluate(pulled: Pulled, towers: Path, oracle: Path | None, config: EvaluationConfig) -> Report:
    """The towers (a folder with user_tower.onnx and item_tower.onnx), the baselines, and the oracle if there is one.

    Raises InputError where the test window holds no event to rank and where a tower gives what is no number.
    """
    task = Task.of(pulled)
    models: dict[str, Callable[[], Scorer]] = {
        TWO_TOWER: lambda: TowerScorer.open(towers, pulled.contract, pulled, task),
        POPULARITY: lambda: Popularity.fit(task),
        "item_knn": lambda: ItemKnn.fit(task, to_micros(pulled.bounds.validation_end)),
    }
    if oracle is not None:
        models["oracle"] = lambda: OracleScorer.open(oracle, task)
    return measure(task, pulled.rows(Split.TRAIN), models, config)


def evaluate_towers(pulled: Pulled, towers: Path, contract: Contract, config: EvaluationConfig) -> Report:
    """Other towers alone, such as the current release's, on the same events; `contract` is theirs."""
    task = Task.of(pulled)
    models = {TWO_TOWER: lambda: TowerScorer.open(towers, contract, pulled, task)}
    return measure(task, pulled.rows(Split.TRAIN), models, config)


def measure(task: Task, train: Array, models: Mapping[str, Callable[[], Scorer]], config: EvaluationConfig) -> Report:
    """Each model, made when its turn comes, ranked over the task; `train` holds the rows of the training events."""
    figures, recalls, curve, shown = {}, {}, {}, {}
    for name, make in models.items():
        started = time.monotonic()
        ranking = rank(task, make())
        recalls[name] = metrics.recall(ranking.rank, 20)
        curve[name] = [float(metrics.per_user(metrics.recall(ranking.rank, k), task.user).mean()) for k in CURVE_AT]
        shown[name] = ranking.shown
        per_user = metrics.per_user(recalls[name], task.user)
        low, high = metrics.interval(per_user, config.bootstrap_samples)
        figures[name] = metrics.summary(ranking.rank, task.user) | {
            f"coverage@{COVERAGE_AT}": ranking.coverage,
            f"{GATED}_low": max(low, 0.0),
            f"{GATED}_high": min(high, 1.0),
        }
        _say(name, figures[name], len(task.events), time.monotonic() - started)
    shown[TAKEN] = np.bincount(task.item, minlength=len(task.interactions.items))
    band = _bands(task, train, ranking.offered)
    return Report(
        metrics=figures,
        slices={name: _slice(task, chosen, recalls) for name, chosen in _slices(task, train).items()},
        counts=_counts(task),
        events=_fingerprint(task),
        per_user={name: np.round(metrics.per_user(r, task.user), 6).tolist() for name, r in recalls.items()},
        curve=curve,
        exposure={name: _shares(counts, band) for name, counts in shown.items()},
    )


def _say(name: str, figures: dict[str, float], events: int, seconds: float) -> None:
    print(  # noqa: T201
        f"evaluate  {name:<10}  recall@20 {figures[GATED]:.4f}  ndcg@20 {figures['ndcg@20']:.4f}  "
        f"{events:,} events in {seconds:.1f} s",
        flush=True,
    )


def _slices(task: Task, train: Array) -> dict[str, Array]:
    """Which events belong to each slice, bool [events]."""
    log = task.interactions
    by_user = np.bincount(log.user[train], minlength=len(log.users))
    by_item = np.bincount(log.item[train], minlength=len(log.items))
    return {
        "cold_users": by_user[task.user] == 0,
        "cold_items": by_item[task.item] == 0,
        "tail_items": ~_head(by_item)[task.item],
    }


def _head(by_item: Array) -> Array:
    """Whether an item is among the most popular fifth of those with a training event, bool [items]."""
    size = int(np.ceil(HEAD * np.count_nonzero(by_item)))
    head = np.zeros(len(by_item), dtype=bool)
    head[np.argsort(-by_item, kind="stable")[:size]] = True
    return head


def _bands(task: Task, train: Array, offered: Array) -> Array:
    """The band of each item on offer, -1 for all others, [items]."""
    by_item = np.bincount(task.interactions.item[train], minlength=len(task.interactions.items))
    ordered = offered[np.argsort(-by_item[offered], kind="stable")]
    band = np.full(len(by_item), -1)
    band[ordered] = np.arange(len(ordered)) * BANDS // len(ordered)
    return band


def _shares(counts: Array, band: Array) -> list[float]:
    there = band >= 0
    by_band = np.bincount(band[there], weights=counts[there], minlength=BANDS)
    return list(by_band / max(1, by_band.sum()))


def _slice(task: Task, chosen: Array, recalls: dict[str, Array]) -> dict[str, Any]:
    """Its size and recall@20 by model, over its own events; None where it has none."""
    user = task.user[chosen]
    return {
        "events": len(user),
        "users": len(np.unique(user)),
        GATED: {
            name: float(metrics.per_user(recall[chosen], user).mean()) if len(user) else None
            for name, recall in recalls.items()
        },
    }


def _counts(task: Task) -> dict[str, int]:
    indexed = np.zeros(len(task.events), dtype=bool)
    for snapshot in task.snapshots:
        mine = task.snapshot == snapshot.number
        indexed[mine] = np.isin(task.item[mine], snapshot.items)
    return {
        "events": len(task.events),
        "users": len(np.unique(task.user)),
        "items": len(task.snapshots[-1].items),
        "left_out": task.left_out,
        "not_in_index": int((~indexed).sum()),
    }


def _fingerprint(task: Task) -> str:
    """Of the users, items and times of the events, and of the order of the users in `per_user`."""
    log = task.interactions
    digest = hashlib.sha256()
    for keys, code in ((log.users, np.unique(task.user)), (log.users, task.user), (log.items, task.item)):
        digest.update("\n".join(map(str, keys.take(code).to_pylist())).encode())
    digest.update(log.micros[task.events].tobytes())
    return digest.hexdigest()[:16]
