"""Advice for a run whose towers lose to a baseline: by how much, on which events, and what would most likely help."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from two_tower.data.pulled import Pulled, Split
from two_tower.evaluation.evaluate import GATED, TWO_TOWER, Report
from two_tower.schema import Contract, Encoding

ORACLE = "oracle"  # knows the simulated world, so it is no baseline
SLICE_NAMES = {
    "cold_users": "users without a training event",
    "cold_items": "items without a training event",
    "tail_items": "items outside the most popular fifth",
}
FEW_EVENTS = 5  # training events per item, below which an embedding of the item's id learns little
RISING = 1.01  # validation recall of the last epoch over that of the epoch before: it has not converged


def advise(report: Report, trained: Mapping[str, Any], pulled: Pulled) -> list[str]:
    """Explain why the towers lose to the best baseline, and what would most likely help.

    Args:
        report: Evaluation of the run.
        trained: The model description, with `config` and `history` (metrics of each epoch).
        pulled: Pulled tables; only the interactions are read.

    Returns:
        One sentence each, the most useful first. Empty if the towers beat all baselines.
    """
    recall = {name: figures[GATED] for name, figures in report.metrics.items() if name != ORACLE}
    best = max(recall, key=lambda name: recall[name])
    if best == TWO_TOWER:
        return []
    return [
        _loss(report, best),
        *_epochs(trained["history"], trained["config"]),
        *_features(pulled.contract),
        *_data(report, pulled),
    ]


def _loss(report: Report, best: str) -> str:
    """How much the towers lose to the best baseline, in total and by slice."""
    own, other = report.metrics[TWO_TOWER][GATED], report.metrics[best][GATED]
    text = f"The towers have {GATED} {own:.4f}, {own - other:+.4f} against {best} ({other:.4f})."
    parts = [
        f"{SLICE_NAMES[name]} {figures[GATED][TWO_TOWER] - figures[GATED][best]:+.4f} ({figures['events']:,} events)"
        for name, figures in report.slices.items()
        if figures["events"] and figures[GATED][TWO_TOWER] is not None and figures[GATED].get(best) is not None
    ]
    return f"{text} By slice: {'; '.join(parts)}." if parts else text


def _epochs(history: Sequence[Mapping[str, float]], config: Mapping[str, Any]) -> list[str]:
    """Whether the training stopped before it converged."""
    if len(history) < config["epochs"]:
        return []  # early stopping
    before, last = ([0.0, *(epoch[GATED] for epoch in history)])[-2:]
    if last < RISING * before or last < max(epoch[GATED] for epoch in history):
        return []
    return [
        f"Train longer: validation {GATED} still rose in the last of {len(history)} epochs, from {before:.4f} to "
        f"{last:.4f}. Pass --set epochs={max(10, 3 * len(history))}; early stopping ends it when it no longer rises."
    ]


def _features(contract: Contract) -> list[str]:
    """Inputs that most models of this kind have, and these towers do not."""
    advice = []
    if not any(f.encoding == Encoding.HISTORY for f in contract.user):
        advice.append(
            "Give the user tower the user's last items: a field of type Array with the item ids and the tag "
            "encoding=history. Without it, users with equal features get equal items."
        )
    ids = [f.name for f in contract.item if f.dtype == contract.item_key_dtype and f.encoding == Encoding.CATEGORICAL]
    if not ids:
        advice.append(
            "Give the item tower the item id: a field with the values of the join key and the tag "
            "encoding=categorical. Without it, items with equal features get equal scores."
        )
    return advice


def _data(report: Report, pulled: Pulled) -> list[str]:
    """Whether there are too few training events, or the test events are on items that training never saw."""
    advice = []
    items = pulled.interactions[pulled.contract.item_key].take(pulled.rows(Split.TRAIN)).combine_chunks()
    per_item = np.bincount(items.dictionary_encode().indices.to_numpy(zero_copy_only=False))
    median = float(np.median(per_item)) if len(per_item) else 0.0
    if median < FEW_EVENTS:
        advice.append(
            f"Use more data, or fewer items: half of the {len(per_item):,} items have at most {median:g} training "
            "events. Features of the items (category, text, price) help such items more than their id."
        )
    cold = report.slices.get("cold_items", {}).get("events", 0) / max(report.counts["events"], 1)
    if cold > 0.5:
        advice.append(
            f"Train more often: {cold:.0%} of the test events are on items that have no training event, so only "
            "features of the items can rank them."
        )
    return advice
