"""Evaluation of the exported towers under the conditions of serving.

Each test event is ranked with the ONNX towers: against the catalogue of the latest index refresh before the event, with
the user's features as of the event, and without the items that the user had seen. The baselines are evaluated in the
same way. So is the oracle, which a simulated world has.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.config import EvaluationConfig
from two_tower.data.pulled import Pulled, Split
from two_tower.evaluation import baselines, metrics
from two_tower.evaluation.baselines import EASE
from two_tower.evaluation.ranking import COVERAGE_AT, Scorer, Task, rank, to_micros
from two_tower.evaluation.scorers import OracleScorer, TowerScorer
from two_tower.inputs import Array
from two_tower.schema import Contract

GATED = "recall@20"  # metric of the promotion gate and of the slices
TWO_TOWER = "two_tower"
HEAD = 0.2
CURVE_AT = (1, 2, 5, 10, 20, 50, 100)
BANDS = 10  # bands of equally many items, from the most popular in training to the least popular
TEST_EVENTS = "test_events"  # key of the exposure of the test events themselves


@dataclass(frozen=True, kw_only=True)
class Report:
    """Results of an evaluation.

    Attributes:
        metrics: For each model: recall, ndcg and mrr at 10, 20 and 100, coverage@20, and the 95 % interval of recall@20
            as recall@20_low and recall@20_high.
        slices: For cold_users, cold_items and tail_items: the number of `events` and `users`, and recall@20 of each
            model.
        counts: `events`, `users` and catalogue `items`; `left_out`: events of weight 0, or on an item that the
            user had already seen; `not_in_index`: events on an item that the index did not contain yet, a miss for
            every model.
        events: Fingerprint of the ranked events. Reports with the same fingerprint can be compared user by user.
        per_user: For each model, recall@20 of each user. The order is the same in all reports with these events.
        curve: For each model, recall at each k of CURVE_AT.
        exposure: For each model, the share of each popularity band in the last top 20 of all users; as `test_events`,
            the share of each band in the ranked events.
        baselines: For each baseline, its `settings`, how they were chosen (`validation_recall@20`, `tried`,
            `seconds`), and a `note` if it does not cover all items.
    """

    metrics: dict[str, dict[str, float]]
    slices: dict[str, dict[str, Any]]
    counts: dict[str, int]
    events: str
    per_user: dict[str, list[float]]
    curve: dict[str, list[float]]
    exposure: dict[str, list[float]]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Read a report that `write` wrote."""
        return cls(**json.loads(path.read_text()))


def evaluate(pulled: Pulled, towers: Path, oracle: Path | None, config: EvaluationConfig) -> Report:
    """Evaluate the towers, the baselines, and the oracle if there is one.

    Args:
        pulled: Pulled tables.
        towers: Folder with user_tower.onnx and item_tower.onnx.
        oracle: Folder of the simulated world's oracle, or None.
        config: Settings of the evaluation.

    Returns:
        The results for each model.

    Raises:
        InputError: The test window has no event to rank, or a tower returns NaN or infinite values.
    """
    task = Task.of(pulled)
    chosen = baselines.choose(pulled, task.interactions, config.baseline_seconds)
    until = to_micros(pulled.bounds.validation_end)
    models: dict[str, Callable[[], Scorer]] = {
        TWO_TOWER: lambda: TowerScorer.open(towers, pulled.contract, pulled, task),
        **{name: partial(baselines.scorer, name, chosen, task, until) for name in chosen},
    }
    if oracle is not None:
        models["oracle"] = lambda: OracleScorer.open(oracle, task)
    report = measure(task, pulled.rows(Split.TRAIN), models, config)
    described = {name: choice.described() for name, choice in chosen.items()}
    if note := baselines.ease_note(task.interactions, until):
        described[EASE]["note"] = note
    return replace(report, baselines=described)


def evaluate_towers(pulled: Pulled, towers: Path, contract: Contract, config: EvaluationConfig) -> Report:
    """Evaluate other towers on the same events, for example those of the current release.

    Args:
        pulled: Pulled tables.
        towers: Folder with user_tower.onnx and item_tower.onnx.
        contract: Contract of these towers.
        config: Settings of the evaluation.

    Returns:
        The results for `two_tower` alone.

    Raises:
        InputError: As for `evaluate`.
    """
    task = Task.of(pulled)
    models = {TWO_TOWER: lambda: TowerScorer.open(towers, contract, pulled, task)}
    return measure(task, pulled.rows(Split.TRAIN), models, config)


def measure(task: Task, train: Array, models: Mapping[str, Callable[[], Scorer]], config: EvaluationConfig) -> Report:
    """Rank the events of a task with each model.

    Args:
        task: Events and catalogues.
        train: Rows of the training events, `(events,) int64`.
        models: Function for each model that makes its scorer; called when the model is ranked.
        config: Settings of the evaluation.

    Returns:
        The results for each model.
    """
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
        _log(name, figures[name], len(task.events), time.monotonic() - started)
    shown[TEST_EVENTS] = np.bincount(task.item, minlength=len(task.interactions.items))
    band = _bands(task, train, ranking.catalogue)
    return Report(
        metrics=figures,
        slices={name: _slice(task, events, recalls) for name, events in _slices(task, train).items()},
        counts=_counts(task),
        events=_fingerprint(task),
        per_user={name: np.round(metrics.per_user(r, task.user), 6).tolist() for name, r in recalls.items()},
        curve=curve,
        exposure={name: _shares(counts, band) for name, counts in shown.items()},
    )


def _log(name: str, figures: dict[str, float], events: int, seconds: float) -> None:
    print(  # noqa: T201
        f"evaluate  {name:<12}  recall@20 {figures[GATED]:.4f}  ndcg@20 {figures['ndcg@20']:.4f}  "
        f"{events:,} events in {seconds:.1f} s",
        flush=True,
    )


def _slices(task: Task, train: Array) -> dict[str, Array]:
    """Flags of the events in each slice, `(events,) bool`."""
    log = task.interactions
    by_user = np.bincount(log.user[train], minlength=len(log.users))
    by_item = np.bincount(log.item[train], minlength=len(log.items))
    return {
        "cold_users": by_user[task.user] == 0,
        "cold_items": by_item[task.item] == 0,
        "tail_items": ~_head(by_item)[task.item],
    }


def _head(by_item: Array) -> Array:
    """Flags of the most popular fifth of the items with a training event, `(items,) bool`."""
    size = int(np.ceil(HEAD * np.count_nonzero(by_item)))
    head = np.zeros(len(by_item), dtype=bool)
    head[np.argsort(-by_item, kind="stable")[:size]] = True
    return head


def _bands(task: Task, train: Array, catalogue: Array) -> Array:
    """Popularity band of each item in the catalogue, -1 for other items, `(items,)`."""
    by_item = np.bincount(task.interactions.item[train], minlength=len(task.interactions.items))
    ordered = catalogue[np.argsort(-by_item[catalogue], kind="stable")]
    band = np.full(len(by_item), -1)
    band[ordered] = np.arange(len(ordered)) * BANDS // len(ordered)
    return band


def _shares(counts: Array, band: Array) -> list[float]:
    banded = band >= 0
    by_band = np.bincount(band[banded], weights=counts[banded], minlength=BANDS)
    return list(by_band / max(1, by_band.sum()))


def _slice(task: Task, events: Array, recalls: dict[str, Array]) -> dict[str, Any]:
    """Size of a slice and recall@20 of each model on its events; None for an empty slice."""
    user = task.user[events]
    return {
        "events": len(user),
        "users": len(np.unique(user)),
        GATED: {
            name: float(metrics.per_user(recall[events], user).mean()) if len(user) else None
            for name, recall in recalls.items()
        },
    }


def _counts(task: Task) -> dict[str, int]:
    indexed = np.zeros(len(task.events), dtype=bool)
    for snapshot in task.snapshots:
        of_snapshot = task.snapshot == snapshot.number
        indexed[of_snapshot] = np.isin(task.item[of_snapshot], snapshot.items)
    return {
        "events": len(task.events),
        "users": len(np.unique(task.user)),
        "items": len(task.snapshots[-1].items),
        "left_out": task.left_out,
        "not_in_index": int((~indexed).sum()),
    }


def _fingerprint(task: Task) -> str:
    """Hash of the users, items and times of the events, and of the order of the users in `per_user`."""
    log = task.interactions
    digest = hashlib.sha256()
    for keys, code in ((log.users, np.unique(task.user)), (log.users, task.user), (log.items, task.item)):
        digest.update("\n".join(map(str, keys.take(code).to_pylist())).encode())
    digest.update(log.micros[task.events].tobytes())
    return digest.hexdigest()[:16]
