"""Comparison of a new model with the current release."""

from collections.abc import Mapping
from typing import Any

from two_tower.schema import Contract

FIGURES = ("recall@20", "ndcg@20", "coverage@20")


def changes(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Compare two models.

    Args:
        new: `contract`, `metrics`, `bounds` and `settings` of the new model, as in a manifest.
        old: The same fields of the current release.

    Returns:
        Rows of (name, value before, value now): data window and metrics always, features and settings if they differ.
    """
    rows = [("data up to", _day(old["bounds"]["as_of"]), _day(new["bounds"]["as_of"]))]
    before_split, now_split = (one["bounds"].get("split", "time") for one in (old, new))
    if before_split != now_split:
        rows.append(("split", before_split, now_split))
    for name in FIGURES:
        before, now = old["metrics"]["two_tower"].get(name), new["metrics"]["two_tower"].get(name)
        rows.append((name, _figure(before), _figure(now)))
    rows += _features(Contract.from_dict(new["contract"]), Contract.from_dict(old["contract"]))
    before_settings = old.get("settings", new["settings"])  # optional in a release
    for key in sorted({*new["settings"], *before_settings}):
        before, now = before_settings.get(key), new["settings"].get(key)
        if before != now:
            rows.append((key, _figure(before), _figure(now)))
    return rows


def _features(new: Contract, old: Contract) -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for tower in ("user", "item"):
        before = {f.name: f"{f.dtype}, {f.encoding}" for f in old.tower(tower)}
        now = {f.name: f"{f.dtype}, {f.encoding}" for f in new.tower(tower)}
        rows += [
            (f"{tower} feature {name}", before.get(name, "–"), now.get(name, "–"))
            for name in dict.fromkeys([*now, *before])
            if before.get(name) != now.get(name)
        ]
    return rows


def _day(instant: str) -> str:
    return instant[:16].replace("T", " ")


def _figure(value: Any) -> str:
    return "–" if value is None else f"{value:.4f}" if isinstance(value, float) and 0 < abs(value) < 1 else str(value)
