"""The measures of the data gate: compare pulled data with the training data of the current release.

A measure is one number with limits. The limits follow from the reference (`reference.describe`) of the current release.
`suites` converts measures to Great Expectations suites. The limits allow the changes between two runs that are a day or
a week apart: counts grow, items are added and removed, and small samples vary.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from two_tower.checks.measure import Measure
from two_tower.data.pulled import EVENT_TIMESTAMP, WEIGHT
from two_tower.schema import INTERACTIONS_VIEW, Contract, Feature, TowerName
from two_tower.statistics.reference import SAMPLED_KEYS

PSI_WARNS, PSI_FAILS = 0.1, 0.25  # limits of the population stability index: some drift, much drift
STEADY = 0.95  # if at least this share of keys kept its value, the feature depends on the key and not on the day
ORDERED = 0.95  # numbers whose quantile bins correlate at least this much kept their order
LEAST_KEYS = 20  # a comparison of keys needs at least this many in both samples
PSI = re.compile(r"\bpsi\b( of)?")  # marks a measure of drift in its quantity
_FEW = 3  # this many rows never fail the gate, not even in the smallest table

Described = Mapping[str, Any]


def source_measures(views: Described) -> Iterator[Measure]:
    """Yield the measures of the sources of feature views. They need no reference.

    Args:
        views: The statistics of each source, by the name of the view (`sources.state`).

    Yields:
        Rows in the future, the share of duplicate rows, and the age of the newest row if the view limits it.
    """
    for name, view in views.items():
        time, key = f"{name}.{view['time']}", f"{name}.{view['key']}"
        yield Measure(table="views", column=time, quantity="rows in the future", value=view["future"], most=0)
        if name != INTERACTIONS_VIEW:  # the join picks an arbitrary row of two with equal key and timestamp
            yield Measure(table="views", column=key, quantity="duplicate share", value=view["repeated"], most=0.001)
        if "max_age_hours" in view and view["lag"] is not None:
            most = view["max_age_hours"] / 24
            yield Measure(table="views", column=time, quantity="days behind", value=view["lag"], most=most)


def text_measures(contract: Contract, now: Described) -> Iterator[Measure]:
    """Yield the measures of string values: wrong encodings and strings such as "NaN". They need no reference.

    Args:
        contract: The feature contract.
        now: The description of the pull (`reference.describe`).

    Yields:
        For each string feature, the share of values with a wrong encoding, and the share of values that stand for a
        missing value (a warning).
    """
    quantities = (("garbled", "share with a wrong encoding", False), ("no_value", "share without a value", True))
    for table, features in (("user", contract.user), ("item", contract.item), ("catalogue", contract.item)):
        for f in features:
            description = now[table][f.name]
            for name, quantity, warning in quantities:
                if name in description:
                    value, most = description[name], 0.0005 + 1 / description["rows"]
                    yield Measure(
                        table=table, column=f.name, quantity=quantity, value=value, most=most, warning=warning
                    )


def measures(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    """Yield the measures that compare a pull with a reference. New views and features are not compared.

    Args:
        contract: The feature contract.
        now: The description of the pull, made with `before` as its reference.
        before: The reference of the current release.

    Yields:
        The measures of interactions, histories, views and features.
    """
    yield from _interactions(contract, now["interactions"], before["interactions"])
    if now["split"] == before.get("split", "time") == "time":
        yield from _times(contract, now["interactions"], before["interactions"])
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
            # A feature that depends on the day changes from day to day. In a catalogue, which is from a single time,
            # all its values may change.
            fails = PSI_FAILS if steady else 2 * PSI_FAILS
            volatile = table == "catalogue" and not steady
            yield from _feature(table, f, now[table][f.name], before[table][f.name], fails, volatile=volatile)
            if steady and table != "item":
                yield from _same_keys(table, contract.key(tower), f, keys_now, keys_before)


def _interactions(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    user, item = contract.user_key, contract.item_key

    def measure(column: str, quantity: str, value: float, **limits: Any) -> Measure:
        return Measure(table="interactions", column=column, quantity=quantity, value=value, **limits)

    few = _FEW / before["rows"]
    rates = (
        (user, "rows_a_user", "rows per user"),
        (item, "rows_an_item", "rows per item"),
    )
    for column, name, quantity in rates:
        yield measure(column, quantity, now[name], least=before[name] / 2, most=before[name] * 2)
    yield measure(user, "users", now["users"], least=before["users"] / 2)
    yield measure(item, "items", now["items"], least=before["items"] / 2)
    most_frequent = "share of the most frequent value"
    yield measure(user, most_frequent, now["busiest_user"], most=2 * before["busiest_user"] + 0.01 + few)
    yield measure(item, most_frequent, now["busiest_item"], most=2 * before["busiest_item"] + 0.01 + few)
    triple = f"{user}, {item}, {EVENT_TIMESTAMP}"
    yield measure(triple, "duplicate share", now["repeated"], most=1.5 * before["repeated"] + 0.001 + few)
    yield from _numbers("interactions", WEIGHT, "", now["weight"], before["weight"], few, PSI_FAILS, volatile=False)


def _times(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    """Compare the times of the interactions."""
    time, few = EVENT_TIMESTAMP, _FEW / before["rows"]

    def measure(column: str, quantity: str, value: float, **limits: Any) -> Measure:
        return Measure(table="interactions", column=column, quantity=quantity, value=value, **limits)

    rate = before["rows_a_day"]
    yield measure(time, "rows per day", now["rows_a_day"], least=rate / 2, most=rate * 2)
    oldest = (now["oldest"] - before["oldest"]) / 86_400_000_000
    yield measure(time, "oldest row: days after the previous oldest", oldest, least=-0.1 * before["days"] - 1)
    gap = before["longest_gap"]
    yield measure(time, "longest gap in days", now["longest_gap"], most=1.5 * gap + 0.05)
    yield measure(time, "days behind", now["lag"], most=1.5 * max(gap, before["lag"]) + 0.05)
    if (kept := _kept(now["sample"], before["sample"], now["oldest"])) is not None:
        triple = f"{contract.user_key}, {contract.item_key}, {time}"
        yield measure(triple, "share of previous interactions still present", kept, least=0.98)
    if days := [now["days_rows"][d] / n for d, n in before["days_rows"].items() if d in now["days_rows"] and n >= 50]:
        yield measure(time, "minimum over days: share of rows still present", min(days), least=0.8)
    yield measure(time, "psi of the hours of the day", now["hours"]["psi"], most=PSI_FAILS + 10 * few)


def _kept(now: list[list[int]], before: list[list[int]], oldest: int) -> float | None:
    """Return the share of previously sampled interactions that are still in the data.

    Only interactions count that are inside the pulled time and that the new sample would contain. The share is 1 if
    rows are only appended. None if fewer than LEAST_KEYS interactions count.
    """
    sampled = {h for h, _ in now}
    due = [h for h, t in before if t >= oldest and (len(now) < SAMPLED_KEYS or h <= now[-1][0])]
    return sum(h in sampled for h in due) / len(due) if len(due) >= LEAST_KEYS else None


def _histories(contract: Contract, now: Described, before: Described) -> Iterator[Measure]:
    """Compare histories with interactions. If they disagree, the keys or the times of one of them are wrong."""
    for name in now.keys() & before.keys():
        if "follows" not in now[name] or "follows" not in before[name]:
            continue
        limits: tuple[tuple[str, str, float | None, float | None], ...] = (
            ("follows", "share that contains the previous item", before[name]["follows"] - 0.05, None),
            ("knows", "share that contains the next item", None, before[name]["knows"] + 0.05),
        )
        for key, share, least, most in limits:
            quantity = f"{share} by interactions' {contract.user_key}, {contract.item_key}, {EVENT_TIMESTAMP}"
            yield Measure(table="user", column=name, quantity=quantity, value=now[name][key], least=least, most=most)


def _view(name: str, now: Described, before: Described) -> Iterator[Measure]:
    time, key = f"{name}.{now['time']}", f"{name}.{now['key']}"
    yield Measure(table="views", column=key, quantity="rows", value=now["rows"], least=before["rows"] / 2)
    if name != INTERACTIONS_VIEW:
        least = 0.9 * before["keys"] - 1
        yield Measure(table="views", column=key, quantity="distinct values", value=now["keys"], least=least)
    if now["lag"] is not None and before["lag"] is not None:
        most = max(2 * before["lag"], 1.5 * before["longest_gap"]) + 0.05
        yield Measure(table="views", column=time, quantity="days behind", value=now["lag"], most=most)


def _same_keys(table: str, key: str, f: Feature, now: Described, before: Described) -> Iterator[Measure]:
    """Measure the share of the keys in both samples with an unchanged value. It is small for a shuffled column.

    It is a warning if numbers changed but kept their order, as do ages a year later and prices after a rise.
    """
    places = {k: row for row, k in enumerate(before["keys"])}
    pairs = [(places[k], row) for row, k in enumerate(now["keys"]) if k in places]
    if len(pairs) < LEAST_KEYS:
        return
    values = before["newest"][f.name], now["newest"][f.name]
    same = sum(values[0][a] == values[1][b] for a, b in pairs) / len(pairs)
    bins = tuple(np.array(sample.get("bins", {}).get(f.name, ()), dtype=np.int64) for sample in (before, now))
    warning = False
    if len(bins[0]) and len(bins[1]):
        old, new = (of_sample[list(rows)] for of_sample, rows in zip(bins, zip(*pairs, strict=True), strict=True))
        warning = bool(np.ptp(old) and np.ptp(new) and np.corrcoef(old, new)[0, 1] > ORDERED)
    yield Measure(
        table=table,
        column=f.name,
        quantity=f"share of sampled {key} with an unchanged value",
        value=same,
        least=before["steady"][f.name] - 0.2,
        warning=warning,
    )


def _feature(
    table: str, f: Feature, now: Described, before: Described, fails: float, *, volatile: bool
) -> Iterator[Measure]:
    few = _FEW / max(1, min(now["rows"], before["rows"]))
    nulls, most = now["null_share"], 1.1 * before["null_share"] + 0.01 + few
    yield Measure(table=table, column=f.name, quantity="null share", value=nulls, most=most, warning=volatile)
    if "lengths" in now and before.get("lengths"):
        lengths = now["lengths"], before["lengths"]
        yield from _numbers(table, f.name, "lengths: ", *lengths, few, fails, volatile=volatile)
    if "edges" in now and "edges" in before:
        yield from _numbers(table, f.name, "", now, before, few, fails, volatile=volatile)
    if now.get("values") and before.get("values") and not before["names_items"]:
        yield from _categories(table, f.name, now, before, few)


def _categories(table: str, column: str, now: Described, before: Described, few: float) -> Iterator[Measure]:
    whole = before["whole"]

    def measure(quantity: str, value: float, most: float, *, warning: bool = False) -> Measure:
        return Measure(table=table, column=column, quantity=quantity, value=value, most=most, warning=warning)

    yield measure("psi", now["psi"], PSI_WARNS + few, warning=True)
    yield measure("psi", now["psi"], (PSI_FAILS if whole else 2 * PSI_FAILS) + few)
    yield measure("distinct values", now["distinct"], 2 * before["distinct"] + 5)
    if "no_value" in now and "no_value" in before:
        yield measure("share without a value", now["no_value"], 1.1 * before["no_value"] + 0.005 + few)
    if whole:
        yield measure("share of new values", now["new"], 0.01 + few, warning=True)
        yield measure("share of new values", now["new"], 0.1 + few)
        yield measure("share of values that disappeared", now["lost"], few)


def _numbers(
    table: str, column: str, prefix: str, now: Described, before: Described, few: float, fails: float, *, volatile: bool
) -> Iterator[Measure]:
    if not now or not before:
        return

    def measure(quantity: str, value: float, **limits: Any) -> Measure:
        return Measure(table=table, column=column, quantity=f"{prefix}{quantity}", value=value, **limits)

    yield measure("psi", now["psi"], most=PSI_WARNS + few, warning=True)
    yield measure("psi", now["psi"], most=fails + few, warning=volatile)
    yield measure("share outside the previous range", now["outside"], most=0.002 + few, warning=volatile)
    most = 1.2 * before["most_frequent"] + 0.05 + few
    # A history that has reached its maximum length keeps it, so the share of full lists grows with the log.
    is_full = bool(prefix) and now["mode"] == before["greatest"]
    yield measure("share of the most frequent value", now["most_frequent"], most=most, warning=volatile or is_full)
    if before["distinct"] > 1:
        yield measure("distinct values", now["distinct"], least=max(2, before["distinct"] / 3), warning=volatile)


def drift(comparison: Iterable[Measure]) -> list[dict[str, Any]]:
    """Extract the drift of each feature from the measures.

    Args:
        comparison: The measures of `measures`.

    Returns:
        One row per feature, sorted by descending psi: table, feature, psi, the `limit` of the psi, and whether a psi
        above the limit fails the gate (`holds`) or is a warning.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for measure in (m for m in comparison if PSI.search(m.quantity)):
        assert measure.most is not None
        part = PSI.sub("", measure.quantity).strip(" :")
        name = f"{measure.column}, {part}" if part else measure.column
        limits = {"limit": float(measure.most), "holds": not measure.warning}
        row = {"table": measure.table, "feature": name, "psi": float(measure.value), **limits}
        rows[measure.table, name] = max(rows.get((measure.table, name), row), row, key=lambda r: bool(r["holds"]))
    return sorted(rows.values(), key=lambda row: -row["psi"])
