"""The data gate's measures: what pulled data must be like beside the data of the release that serves.

Each is one number with its limits, which follow from the reference (`reference.describe`) of that release. They become
Great Expectations suites in `suites`. Limits leave room for what changes from one run to the next, a day or a week
later: counts grow, items come and go, few rows tell little.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT
from two_tower.schema import INTERACTIONS_VIEW, Contract, Feature, TowerName
from two_tower.statistics.reference import SAMPLED_KEYS

PSI_WARNS, PSI_FAILS = 0.1, 0.25  # of the population stability index: something moved, much moved
STEADY = 0.95  # a feature whose value stayed for so many keys belongs to the key, and not to the day
LEAST_KEYS = 20  # of those in both samples
PSI = re.compile(r"\bpsi\b( of)?")  # in what a measure says that it is
_FEW = 3  # rows that alarm nobody, in the smallest table

Described = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """value must lie between least and most, both included; `warning`: else it is said and nothing is held."""

    table: str
    column: str
    what: str
    value: float
    least: float | None = None
    most: float | None = None
    warning: bool = False

    @property
    def label(self) -> str:
        return f"{self.column} ({self.what})"


def of_sources(views: Described) -> Iterator[Measure]:
    """What every view's source must be like, whatever it was before."""
    for name, view in views.items():
        time, key = f"{name}.{view['time']}", f"{name}.{view['key']}"
        yield Measure(table="views", column=time, what="rows in the future", value=view["future"], most=0)
        if name != INTERACTIONS_VIEW:  # of two rows of one key and instant, a join takes any
            yield Measure(table="views", column=key, what="share repeated", value=view["repeated"], most=0.001)
        if "max_age_hours" in view and view["lag"] is not None:
            most = view["max_age_hours"] / 24
            yield Measure(table="views", column=time, what="days behind", value=view["lag"], most=most)


def of_texts(contract: Contract, now: Described) -> Iterator[Measure]:
    """What every text must be like: encoded well, and, so far as one can tell, a value."""
    for table, features in (("user", contract.user), ("item", contract.item), ("catalogue", contract.item)):
        for f in features:
            found = now[table][f.name]
            for what, warning in (("garbled", False), ("no_value", True)):
                if what in found:
                    said = f"share {what}".replace("_", " ")
                    most = 0.0005 + 1 / found["rows"]
                    yield Measure(table=table, column=f.name, what=said, value=found[what], most=most, warning=warning)


def measures(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    """All measures of a pull against a release's reference. What the reference does not know, for it is new, has none.

    now: the description that was made with that reference.
    """
    yield from _interactions(contract, now["interactions"], before["interactions"])
    yield from _histories(contract, now["interactions"]["histories"], before["interactions"]["histories"])
    for name, view in now["views"].items():
        if name in before["views"]:
            yield from _view(name, view, before["views"][name])
    towers: tuple[tuple[str, TowerName], ...] = (("user", "user"), ("item", "item"), ("catalogue", "item"))
    for table, tower in towers:
        keys_now, keys_before = now["keys"][tower], before["keys"][tower]
        for f in contract.tower(tower):
            if f.name not in before[table]:
                continue
            steady = keys_before["steady"].get(f.name, 0.0) >= STEADY
            # What depends on the day moves from one to the next, a catalogue, which is of one instant, altogether.
            fails = PSI_FAILS if steady else 2 * PSI_FAILS
            moves = table == "catalogue" and not steady
            yield from _feature(table, f, now[table][f.name], before[table][f.name], fails, moves=moves)
            if steady and table != "item":
                yield from _same_keys(table, contract.key(tower), f, keys_now, keys_before)


def _interactions(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    user, item = contract.user_key, contract.item_key

    def measure(column: str, what: str, value: float, **limits: Any) -> Measure:
        return Measure(table="interactions", column=column, what=what, value=value, **limits)

    few = _FEW / before["rows"]
    for column, name in ((EVENT_TIMESTAMP, "rows_a_day"), (user, "rows_a_user"), (item, "rows_an_item")):
        yield measure(column, name.replace("_", " "), now[name], least=before[name] / 2, most=before[name] * 2)
    yield measure(user, "users", now["users"], least=before["users"] / 2)
    yield measure(item, "items", now["items"], least=before["items"] / 2)
    yield measure(user, "share of the busiest", now["busiest_user"], most=2 * before["busiest_user"] + 0.01 + few)
    yield measure(item, "share of the busiest", now["busiest_item"], most=2 * before["busiest_item"] + 0.01 + few)
    triple = f"{user}, {item}, {EVENT_TIMESTAMP}"
    yield measure(triple, "share repeated", now["repeated"], most=1.5 * before["repeated"] + 0.001 + few)
    time = EVENT_TIMESTAMP
    oldest = (now["oldest"] - before["oldest"]) / 86_400_000_000
    yield measure(time, "days after the oldest before", oldest, least=-0.1 * before["days"] - 1)
    gap = before["longest_gap"]
    yield measure(time, "longest gap in days", now["longest_gap"], most=1.5 * gap + 0.05)
    yield measure(time, "days behind", now["lag"], most=1.5 * max(gap, before["lag"]) + 0.05)
    if (kept := _kept(now["sample"], before["sample"], now["oldest"])) is not None:
        yield measure(triple, "share of earlier interactions that are still there", kept, least=0.98)
    if days := [now["days_rows"][d] / n for d, n in before["days_rows"].items() if d in now["days_rows"] and n >= 50]:
        yield measure(time, "least share of a day's rows that are still there", min(days), least=0.8)
    yield measure(time, "psi of the hours of the day", now["hours"]["psi"], most=PSI_FAILS + 10 * few)
    yield from _numbers("interactions", WEIGHT, "", now["weight"], before["weight"], few, PSI_FAILS, moves=False)


def _kept(now: list[list[int]], before: list[list[int]], oldest: int) -> float | None:
    """Of the interactions sampled before, so far as they lie in the time that was pulled and would be sampled now, the
    share that was. A history that is only added to keeps all; None where hardly any lie so.
    """
    sampled = {h for h, _ in now}
    due = [h for h, t in before if t >= oldest and (len(now) < SAMPLED_KEYS or h <= now[-1][0])]
    return sum(h in sampled for h in due) / len(due) if len(due) >= LEAST_KEYS else None


def _histories(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    """Histories and interactions are of one making: where they part, keys or times of one of them are wrong."""
    for name in now.keys() & before.keys():
        if "follows" not in now[name] or "follows" not in before[name]:
            continue
        limits: tuple[tuple[str, str, float | None, float | None], ...] = (
            ("follows", "share that holds the item taken before", before[name]["follows"] - 0.05, None),
            ("knows", "share that holds the item taken next", None, before[name]["knows"] + 0.05),
        )
        for measured, what, least, most in limits:
            joined = f"{what} by interactions' {contract.user_key}, {contract.item_key}, {EVENT_TIMESTAMP}"
            yield Measure(table="user", column=name, what=joined, value=now[name][measured], least=least, most=most)


def _view(name: str, now: Described, before: Described) -> Iterator[Measure]:
    time, key = f"{name}.{now['time']}", f"{name}.{now['key']}"
    yield Measure(table="views", column=key, what="rows", value=now["rows"], least=before["rows"] / 2)
    if name != INTERACTIONS_VIEW:
        yield Measure(table="views", column=key, what="distinct", value=now["keys"], least=0.9 * before["keys"] - 1)
    if now["lag"] is not None and before["lag"] is not None:
        most = max(2 * before["lag"], 1.5 * before["longest_gap"]) + 0.05
        yield Measure(table="views", column=time, what="days behind", value=now["lag"], most=most)


def _same_keys(table: str, key: str, f: Feature, now: Described, before: Described) -> Iterator[Measure]:
    """Shares of the keys in both samples whose value is what it was; a column that was shuffled has few."""
    was = dict(zip(before["keys"], before["newest"][f.name], strict=True))
    pairs = [(was[k], v) for k, v in zip(now["keys"], now["newest"][f.name], strict=True) if k in was]
    if len(pairs) >= LEAST_KEYS:
        value, least = sum(a == b for a, b in pairs) / len(pairs), before["steady"][f.name] - 0.2
        what = f"share of sampled {key} with the value they had"
        yield Measure(table=table, column=f.name, what=what, value=value, least=least)


def _feature(
    table: str, f: Feature, now: Described, before: Described, fails: float, *, moves: bool
) -> Iterator[Measure]:
    few = _FEW / max(1, min(now["rows"], before["rows"]))
    nulls, most = now["null_share"], 1.1 * before["null_share"] + 0.01 + few
    yield Measure(table=table, column=f.name, what="null share", value=nulls, most=most, warning=moves)
    if "lengths" in now and before.get("lengths"):
        yield from _numbers(table, f.name, "lengths: ", now["lengths"], before["lengths"], few, fails, moves=moves)
    if "edges" in now and "edges" in before:
        yield from _numbers(table, f.name, "", now, before, few, fails, moves=moves)
    if now.get("values") and before.get("values") and not before["names_items"]:
        yield from _categories(table, f.name, now, before, few)


def _categories(table: str, column: str, now: Described, before: Described, few: float) -> Iterator[Measure]:
    whole = before["whole"]

    def measure(what: str, value: float, most: float, *, warning: bool = False) -> Measure:
        return Measure(table=table, column=column, what=what, value=value, most=most, warning=warning)

    yield measure("psi", now["psi"], PSI_WARNS + few, warning=True)
    yield measure("psi", now["psi"], (PSI_FAILS if whole else 2 * PSI_FAILS) + few)
    yield measure("distinct", now["distinct"], 2 * before["distinct"] + 5)
    if "no_value" in now and "no_value" in before:
        yield measure("share no value", now["no_value"], 1.1 * before["no_value"] + 0.005 + few)
    if whole:
        yield measure("share of new values", now["new"], 0.01 + few)
        yield measure("share of values that are gone", now["lost"], few)


def _numbers(
    table: str, column: str, of: str, now: Described, before: Described, few: float, fails: float, *, moves: bool
) -> Iterator[Measure]:
    if not now or not before:
        return

    def measure(what: str, value: float, **limits: Any) -> Measure:
        return Measure(table=table, column=column, what=f"{of}{what}", value=value, **limits)

    yield measure("psi", now["psi"], most=PSI_WARNS + few, warning=True)
    yield measure("psi", now["psi"], most=fails + few, warning=moves)
    yield measure("share outside the old range", now["outside"], most=0.002 + few, warning=moves)
    most = 1.2 * before["most_frequent"] + 0.05 + few
    yield measure("share of the most frequent value", now["most_frequent"], most=most, warning=moves)
    if before["distinct"] > 1:
        yield measure("distinct", now["distinct"], least=max(2, before["distinct"] / 3), warning=moves)


def drift(found: Iterable[Measure]) -> list[dict[str, Any]]:
    """How far each feature has moved, the farthest first: table, feature, psi, and `limit`, above which the gate holds
    where `holds`, and says so where not.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in (m for m in found if PSI.search(m.what)):
        assert one.most is not None
        part = PSI.sub("", one.what).strip(" :")
        name = f"{one.column}, {part}" if part else one.column
        limits = {"limit": float(one.most), "holds": not one.warning}
        row = {"table": one.table, "feature": name, "psi": float(one.value), **limits}
        rows[one.table, name] = max(rows.get((one.table, name), row), row, key=lambda r: bool(r["holds"]))
    return sorted(rows.values(), key=lambda row: -row["psi"])
