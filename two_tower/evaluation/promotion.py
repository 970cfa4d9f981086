"""The promotion gate: whether the new model is worth serving, and no worse than the one that is served."""

import tempfile
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.config import EvaluationConfig
from two_tower.data.pulled import Pulled
from two_tower.evaluation import metrics
from two_tower.evaluation.evaluate import GATED, POPULARITY, TWO_TOWER, Report, evaluate_towers
from two_tower.gates import Verdict
from two_tower.releases.manifest import ReleaseError
from two_tower.releases.release import Release, current, open_release
from two_tower.schema import Contract

FEW_USERS = 30


@dataclass(frozen=True, kw_only=True)
class Champion:
    """The current release's recall@20.

    low, high: its 95 % interval. per_user: on the new model's test events, where its towers could be run on them; else
    the figures are those of its own evaluation. note: what is to be said about the comparison, may be empty.
    """

    release: str
    recall: float
    low: float
    high: float
    per_user: tuple[float, ...] | None = None
    note: str = ""

    @classmethod
    def of(cls, release: Release, pulled: Pulled, config: EvaluationConfig) -> "Champion":
        """The current release, its towers run on the pulled test events if these have all of its features."""
        absent = _absent(release.contract, pulled.contract)
        if absent:
            note = (
                f"Its towers need what was not pulled ({', '.join(absent)}): compared by its own evaluation's figures."
            )
            figures, per_user = release.manifest.metrics[TWO_TOWER], None
        else:
            report = evaluate_towers(pulled, release.folder, release.contract, config)
            note, figures, per_user = "", report.metrics[TWO_TOWER], tuple(report.per_user[TWO_TOWER])
            train_end = release.manifest.train_end
            if train_end and train_end > pulled.bounds.validation_end:
                note = "It was trained on part of these test events, which favours it."
        low, high = figures[f"{GATED}_low"], figures[f"{GATED}_high"]
        return cls(release=release.id, recall=figures[GATED], low=low, high=high, per_user=per_user, note=note)


def _absent(needed: Contract, pulled: Contract) -> list[str]:
    """The features of one contract that another does not have with the same dtype."""
    return [
        f"{f.name} {f.dtype}"
        for tower in ("user", "item")
        for f in needed.tower(tower)
        if (f.name, f.dtype) not in {(g.name, g.dtype) for g in pulled.tower(tower)}
    ]


def decide(report: Report, pulled: Pulled, releases: str, config: EvaluationConfig) -> Verdict:
    """The gate's verdict on the evaluated model, against the current release of `releases` if there is one.

    A current release that is torn is compared with nothing, and the verdict warns of it: no service can start on it, so
    to hold the new one back for its sake would keep the damage.
    """
    try:
        active = current(releases)
        if active is None:
            return judge(report, None, config)
        with tempfile.TemporaryDirectory() as cache:
            champion = Champion.of(open_release(releases, active, Path(cache)), pulled, config)
    except ReleaseError as error:
        return judge(
            report, None, config, f"Compared with popularity alone, for the current release is unusable: {error}"
        )
    return judge(report, champion, config)


def judge(report: Report, champion: Champion | None, config: EvaluationConfig, warning: str = "") -> Verdict:
    """Pass if recall@20 is above `min_lift` times popularity's and not below the current release's beyond noise.

    Noise is the 95 % interval of the difference by user, where both were measured on the same events, else the
    intervals of both together. warning: what is to be said with the verdict, may be empty.
    """
    beaten, lift = _against_popularity(report, config)
    kept, comparison = _against_champion(report, champion, config) if champion else ("", None)
    users = report.counts["users"]
    details: dict[str, Any] = {"users": users, "events": report.counts["events"], **lift, "champion": comparison}
    warnings = [warning] if warning else []
    if users < FEW_USERS:
        warnings.append(
            f"The test window has only {users} {'user' if users == 1 else 'users'}: the intervals are wide, and "
            "passing says little. Pull a longer window."
        )
    if warnings:
        details["warning"] = " ".join(warnings)
    reasons = tuple(reason for reason in (beaten, kept) if reason)
    return Verdict(gate="promotion", passed=not reasons, reasons=reasons, details=details)


def _against_popularity(report: Report, config: EvaluationConfig) -> tuple[str, dict[str, Any]]:
    """Why the model is not good enough, empty if it is; and what was compared."""
    own, popularity = report.metrics[TWO_TOWER][GATED], report.metrics[POPULARITY][GATED]
    difference = np.array(report.per_user[TWO_TOWER]) - np.array(report.per_user[POPULARITY])
    details = {
        GATED: own,
        f"{GATED}_interval": [report.metrics[TWO_TOWER][f"{GATED}_{end}"] for end in ("low", "high")],
        f"popularity_{GATED}": popularity,
        "lift": own / popularity if popularity else None,
        "above_popularity_interval": _bounded(difference, config),
    }
    needed = config.min_lift * popularity
    reason = (
        f"{GATED} is {own:.4f}; above {needed:.4f} was asked, which is min_lift {config.min_lift:g} times popularity's "
        f"{popularity:.4f}, over {report.counts['events']:,} events of {report.counts['users']:,} users."
    )
    return ("" if own > needed else reason), details


def _against_champion(report: Report, champion: Champion, config: EvaluationConfig) -> tuple[str, dict[str, Any]]:
    """Why the model is worse than the current release, empty if it is not; and what was compared."""
    own = report.metrics[TWO_TOWER]
    share = 1 - config.tolerance
    difference = own[GATED] - share * champion.recall
    if champion.per_user is not None:
        low, high = _bounded(np.array(report.per_user[TWO_TOWER]) - share * np.array(champion.per_user), config)
    else:
        noise = hypot(own[f"{GATED}_high"] - own[f"{GATED}_low"], champion.high - champion.low) / 2
        low, high = difference - noise, difference + noise
    on = "the same events" if champion.per_user is not None else "its own evaluation's events"
    allowed = f", less the tolerated {config.tolerance:.1%}," if config.tolerance else ""
    reason = (
        f"{GATED} is {own[GATED]:.4f}; the current release {champion.release} has {champion.recall:.4f} on {on}. The "
        f"difference{allowed} is {difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}: worse beyond noise."
    )
    details = {
        "release": champion.release,
        GATED: champion.recall,
        "measured_on": on,
        "difference": difference,
        "difference_interval": [low, high],
        "note": champion.note,
    }
    return (reason if high < 0 else ""), details


def _bounded(differences: np.ndarray[Any, Any], config: EvaluationConfig) -> list[float]:
    """The interval of the mean difference between two recalls, which lies between -1 and 1."""
    low, high = metrics.interval(differences, config.bootstrap_samples)
    return [max(low, -1.0), min(high, 1.0)]
