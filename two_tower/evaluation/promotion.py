"""The promotion gate: the model must beat popularity, and not be worse than other baselines or the current release."""

import tempfile
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.config import EvaluationConfig
from two_tower.data.pulled import Pulled
from two_tower.evaluation import metrics
from two_tower.evaluation.baselines import POPULARITY
from two_tower.evaluation.evaluate import GATED, TWO_TOWER, Report, evaluate_towers
from two_tower.gates import Verdict
from two_tower.releases.manifest import ReleaseError
from two_tower.releases.release import Release, current, open_release
from two_tower.schema import Contract

FEW_USERS = 30  # with fewer test users the verdict has a warning


@dataclass(frozen=True, kw_only=True)
class Champion:
    """Recall@20 of the current release.

    Attributes:
        release: Id of the release.
        recall: Its recall@20.
        low: Lower bound of the 95 % interval.
        high: Upper bound of the 95 % interval.
        per_user: Recall@20 of each user on the new model's test events. None if its towers cannot run on these events;
            then the figures are those of its own evaluation.
        note: Remark on the comparison, or empty.
    """

    release: str
    recall: float
    low: float
    high: float
    per_user: tuple[float, ...] | None = None
    note: str = ""

    @classmethod
    def of(cls, release: Release, pulled: Pulled, config: EvaluationConfig) -> "Champion":
        """Evaluate a release on the pulled test events, if the pulled tables have all its features.

        Args:
            release: The current release.
            pulled: Pulled tables.
            config: Settings of the evaluation.

        Returns:
            The recall of the release.
        """
        absent = _absent(release.contract, pulled.contract)
        if absent:
            note = (
                f"Its towers need features that were not pulled ({', '.join(absent)}). The comparison uses the figures "
                "of its own evaluation."
            )
            figures, per_user = release.manifest.metrics[TWO_TOWER], None
        else:
            report = evaluate_towers(pulled, release.folder, release.contract, config)
            note, figures, per_user = "", report.metrics[TWO_TOWER], tuple(report.per_user[TWO_TOWER])
            train_end = release.manifest.train_end
            other_split = release.manifest.bounds.get("split", "time") != pulled.bounds.split
            if other_split or (train_end and train_end > pulled.bounds.validation_end):
                note = "It was trained on some of these test events, which is an advantage for it."
        low, high = figures[f"{GATED}_low"], figures[f"{GATED}_high"]
        return cls(release=release.id, recall=figures[GATED], low=low, high=high, per_user=per_user, note=note)


def _absent(needed: Contract, pulled: Contract) -> list[str]:
    """Features of one contract that the other does not have with the same dtype."""
    return [
        f"{f.name} {f.dtype}"
        for tower in ("user", "item")
        for f in needed.tower(tower)
        if (f.name, f.dtype) not in {(g.name, g.dtype) for g in pulled.tower(tower)}
    ]


def decide(report: Report, pulled: Pulled, releases: str, config: EvaluationConfig) -> Verdict:
    """Compare the evaluated model with the baselines, and with the current release if there is one.

    A corrupt current release is not compared, and the verdict has a warning. No service can start with such a release,
    so it must not block a new one.

    Args:
        report: Evaluation of the new model.
        pulled: Pulled tables.
        releases: Folder or URL of the releases.
        config: Settings of the evaluation.

    Returns:
        The verdict of the gate.
    """
    try:
        active = current(releases)
        if active is None:
            return judge(report, None, config)
        with tempfile.TemporaryDirectory() as cache:
            champion = Champion.of(open_release(releases, active, Path(cache)), pulled, config)
    except ReleaseError as error:
        return judge(
            report, None, config, f"Compared with the baselines only, because the current release is unusable: {error}"
        )
    return judge(report, champion, config)


def judge(report: Report, champion: Champion | None, config: EvaluationConfig, warning: str = "") -> Verdict:
    """Judge the model by its recall@20.

    The model passes if recall@20 is above `min_lift` times that of popularity, not below that of another baseline by
    more than `baseline_tolerance` and noise (unless `min_lift` is 0), and not below that of the current release by more
    than `tolerance` and noise. Noise is the 95 % interval of the paired difference per user if both were evaluated on
    the same events, else the combined intervals of both.

    Args:
        report: Evaluation of the new model.
        champion: Recall of the current release, or None.
        config: Settings of the evaluation.
        warning: Warning to add to the verdict, or empty.

    Returns:
        The verdict of the gate.
    """
    below_popularity, lift = _against_popularity(report, config)
    below_champion, comparison = _against_champion(report, champion, config) if champion else ("", None)
    users = report.counts["users"]
    others, below_baselines, better = _against_other_baselines(report, config)
    details: dict[str, Any] = {
        "users": users,
        "events": report.counts["events"],
        **lift,
        "baselines": others,
        "champion": comparison,
    }
    warnings = [*([warning] if warning else []), *better]
    if users < FEW_USERS:
        warnings.append(
            f"The test window has only {users} {'user' if users == 1 else 'users'}: the intervals are wide, and a pass "
            "means little. Pull a longer window."
        )
    if warnings:
        details["warning"] = " ".join(warnings)
    reasons = tuple(reason for reason in (below_popularity, *below_baselines, below_champion) if reason)
    return Verdict(gate="promotion", passed=not reasons, reasons=reasons, details=details)


def _against_popularity(report: Report, config: EvaluationConfig) -> tuple[str, dict[str, Any]]:
    """The reason to hold the model, or empty, and the figures."""
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
        f"{GATED} is {own:.4f}, measured on {report.counts['events']:,} events of {report.counts['users']:,} users. "
        f"It must be above {needed:.4f}, which is min_lift {config.min_lift:g} times the {popularity:.4f} of "
        "popularity."
    )
    return ("" if own > needed else reason), details


def _against_other_baselines(report: Report, config: EvaluationConfig) -> tuple[dict[str, Any], list[str], list[str]]:
    """Figures of the baselines other than popularity, reasons to hold the model, and warnings."""
    own, figures, reasons, warnings = report.metrics[TWO_TOWER][GATED], dict[str, Any](), [], []
    per_user = np.array(report.per_user[TWO_TOWER])
    for name, metrics_of_baseline in report.metrics.items():
        if name in (TWO_TOWER, POPULARITY, "oracle"):
            continue
        recall, baseline = metrics_of_baseline[GATED], np.array(report.per_user[name])
        interval = _bounded(per_user - baseline, config)
        figures[name] = {GATED: recall, "difference": own - recall, "difference_interval": interval}
        if interval[1] >= 0:
            continue
        sentence = (
            f"The baseline {name} has {GATED} {recall:.4f}, better than the model's {own:.4f} by more than noise "
            f"(difference {own - recall:+.4f}, 95 % interval {interval[0]:+.4f} to {interval[1]:+.4f})"
        )
        if _bounded(per_user - (1 - config.baseline_tolerance) * baseline, config)[1] >= 0:
            warnings.append(
                f"{sentence}. The model passes because of baseline_tolerance {config.baseline_tolerance:.1%}."
            )
        elif config.min_lift == 0:
            warnings.append(f"{sentence}. The model passes because min_lift is 0.")
        else:
            reasons.append(f"{sentence}, and by more than baseline_tolerance {config.baseline_tolerance:.1%}.")
    return figures, reasons, warnings


def _against_champion(report: Report, champion: Champion, config: EvaluationConfig) -> tuple[str, dict[str, Any]]:
    """The reason why the model is worse than the current release, or empty, and the figures."""
    own = report.metrics[TWO_TOWER]
    share = 1 - config.tolerance
    difference = own[GATED] - share * champion.recall
    if champion.per_user is not None:
        low, high = _bounded(np.array(report.per_user[TWO_TOWER]) - share * np.array(champion.per_user), config)
    else:
        noise = hypot(own[f"{GATED}_high"] - own[f"{GATED}_low"], champion.high - champion.low) / 2
        low, high = difference - noise, difference + noise
    events = "the same events" if champion.per_user is not None else "the events of its own evaluation"
    tolerance = f", after a tolerance of {config.tolerance:.1%}," if config.tolerance else ""
    reason = (
        f"{GATED} is {own[GATED]:.4f}; the current release {champion.release} has {champion.recall:.4f} on {events}. "
        f"The difference{tolerance} is {difference:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}: worse by more than "
        "noise."
    )
    details = {
        "release": champion.release,
        GATED: champion.recall,
        "measured_on": events,
        "difference": difference,
        "difference_interval": [low, high],
        "note": champion.note,
    }
    return (reason if high < 0 else ""), details


def _bounded(differences: np.ndarray[Any, Any], config: EvaluationConfig) -> list[float]:
    """The interval of the mean difference between two recalls, limited to -1 and 1."""
    low, high = metrics.interval(differences, config.bootstrap_samples)
    return [max(low, -1.0), min(high, 1.0)]
