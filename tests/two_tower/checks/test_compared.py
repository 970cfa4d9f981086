import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from tests.two_tower import shop
from two_tower.checks import compared
from two_tower.config import PullConfig
from two_tower.data import features
from two_tower.data.pulled import Pulled
from two_tower.statistics import reference
from two_tower.statistics.distribution import describe_numbers


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Pulled:
    folder = tmp_path_factory.mktemp("compared")
    repo = shop.write(folder / "repo")
    return features.pull(repo, PullConfig(train_fraction=0.6, validation_fraction=0.2), None, folder / "pulled")


def broken(now: Pulled, before: Pulled) -> dict[str, float]:
    """Labels and values of the measures that do not hold, without those that only warn."""
    was = json.loads(json.dumps(reference.describe(before)))
    found = compared.measures(now.contract, reference.describe(now, was), was)
    return {
        f"{m.table}.{m.label}": m.value
        for m in found
        if not m.warning and not ((m.least is None or m.value >= m.least) and (m.most is None or m.value <= m.most))
    }


def test_the_same_data_differ_in_nothing(clean):
    assert broken(clean, clean) == {}


def test_without_times_no_measure_is_about_the_times_of_interactions(clean):
    without = replace(clean, bounds=replace(clean.bounds, split="per_user"))
    was = json.loads(json.dumps(reference.describe(without)))
    columns = {m.column for m in compared.measures(clean.contract, reference.describe(without, was), was)}
    assert "event_timestamp" not in columns and "sku" in columns


def test_drift_names_each_feature_once_with_the_limit_that_holds_and_the_farthest_first(clean):
    was = json.loads(json.dumps(reference.describe(clean)))
    at = next(name for name, f in was["user"].items() if f.get("values") and f["whole"] and not f["names_items"])
    was["user"][at]["values"] = dict.fromkeys(was["user"][at]["values"], 0.0) | {"elsewhere": 1.0}
    rows = compared.drift(compared.measures(clean.contract, reference.describe(clean, was), was))
    assert (rows[0]["table"], rows[0]["feature"]) == ("user", at) and rows[0]["psi"] > 1
    assert rows[0]["holds"] and compared.PSI_FAILS <= rows[0]["limit"] < 2 * compared.PSI_FAILS + 1
    assert all(row["psi"] == 0 for row in rows[1:])
    names = [(row["table"], row["feature"]) for row in rows]
    assert len(set(names)) == len(names)
    assert ("interactions", "event_timestamp, the hours of the day") in names
    assert any(feature.endswith(", lengths") for _, feature in names)


@pytest.mark.parametrize(("length", "is_held"), [(50, False), (7, True)], ids=["full lists", "lists of one length"])
def test_more_full_histories_are_not_held_and_lists_of_one_length_are(length, is_held):
    """A log grows by a week: a fifth of the histories had their maximum length, 50, and now a third of all lists do."""
    others = np.tile(np.arange(1.0, 50), 16)
    was = describe_numbers(np.concatenate([others, np.full(200, 50.0)]), None)
    now = describe_numbers(np.concatenate([others, np.full(100, 50.0), np.full(400, float(length))]), was)
    held = [
        m.quantity
        for m in compared._numbers("user", "recent", "lengths: ", now, was, 0.0, 1.0, volatile=False)
        if m.most is not None and m.value > m.most and not m.warning
    ]
    assert held == (["lengths: share of the most frequent value"] if is_held else [])


def test_values_that_moved_to_other_keys_are_seen_though_the_column_as_a_whole_is_as_it_was(clean):
    """Each customer has the next one's age. With six customers the sample is too small, so there are 60 of them."""
    n = 60
    keys = [str(i) for i in range(n)]
    was = {"keys": keys, "newest": {"age": [str(i) for i in range(n)]}, "steady": {"age": 1.0}}
    now = {"keys": keys, "newest": {"age": [str((i + 1) % n) for i in range(n)]}, "steady": {"age": 1.0}}
    age = clean.contract.user[0]
    (measure,) = compared._same_keys("user", "customer", age, now, was)
    assert measure.value == 0 and measure.least == 0.8 and "customer" in measure.quantity
    (measure,) = compared._same_keys("user", "customer", age, was, was)
    assert measure.value == 1


@pytest.mark.parametrize(("move", "is_warning"), [(1, True), (-1, False)], ids=["a year older", "shuffled"])
def test_numbers_that_all_change_and_keep_their_order_are_a_warning(clean, move, is_warning):
    ages = np.random.default_rng(1).integers(18, 80, 100)
    later = ages + 1 if move > 0 else np.random.default_rng(2).permutation(ages)
    samples = [
        {
            "keys": [str(i) for i in range(len(ages))],
            "newest": {"age": [str(v) for v in values]},
            "steady": {"age": 1.0},
            "bins": {"age": reference._bins(values.astype(float))},
        }
        for values in (later, ages)
    ]
    (measure,) = compared._same_keys("user", "customer", clean.contract.user[0], *samples)
    assert measure.value < measure.least and measure.warning == is_warning


def test_a_history_that_knows_the_event_or_lags_behind_it(clean):
    taken = clean.interactions["sku"].to_pylist()
    knowing = [[*(old or []), item] for old, item in zip(clean.user["recent"].to_pylist(), taken, strict=True)]
    place = clean.user.column_names.index("recent")
    leak = replace(clean, user=clean.user.set_column(place, "recent", pa.array(knowing)))
    assert any("recent (share that contains the next item" in label for label in broken(leak, clean))
    stale = replace(clean, user=clean.user.set_column(place, "recent", pa.array([["p0"]] * len(taken))))
    assert any("recent (share that contains the previous item" in label for label in broken(stale, clean))


def test_rows_that_are_gone_or_twice_or_late(clean):
    few = np.arange(0, clean.interactions.num_rows, 3)
    third = replace(clean, **{t: getattr(clean, t).take(pa.array(few)) for t in ("interactions", "user", "item")})
    assert any("previous interactions still present" in label for label in broken(third, clean))
    twice = np.repeat(np.arange(clean.interactions.num_rows), 2)
    doubled = replace(clean, **{t: getattr(clean, t).take(pa.array(twice)) for t in ("interactions", "user", "item")})
    assert "interactions.customer, sku, event_timestamp (duplicate share)" in broken(doubled, clean)
    at = clean.bounds.as_of + timedelta(days=2)
    behind = replace(clean, bounds=replace(clean.bounds, as_of=at, snapshots=(*clean.bounds.snapshots[:-1], at)))
    assert "interactions.event_timestamp (days behind)" in broken(behind, clean)


def test_sources_are_judged_without_a_reference(clean, tmp_path):
    assert [m for m in compared.source_measures(clean.views) if m.value > m.most] == []
    old = shop.tables()["customers"]
    again = old.set_column(2, "age", pa.array([99] * old.num_rows)).slice(0, 2)
    far = old.slice(2, 1).set_column(1, "at", pa.array([shop.at(60 * 24 * 365 * 200)], shop.STAMP))
    repo = shop.write(tmp_path / "repo", customers=pa.concat_tables([old, again, far]))
    pulled = features.pull(repo, PullConfig(train_fraction=0.6, validation_fraction=0.2), None, tmp_path / "pulled")
    wrong = {m.label: m.value for m in compared.source_measures(pulled.views) if m.value > m.most}
    assert wrong == {
        "customers.at (rows in the future)": 1,
        "customers.customer (duplicate share)": pytest.approx(0.2),
    }


def test_a_view_tagged_with_an_age_must_be_no_older(tmp_path):
    definitions = shop.DEFINITIONS.replace(
        'name="activity",\n    entities', 'name="activity",\n    tags={"max_age_hours": "1"},\n    entities'
    )
    activity = shop.tables()["activity"]
    repo = shop.write(tmp_path / "repo", definitions, activity=activity.slice(0, 150))
    pulled = features.pull(repo, PullConfig(train_fraction=0.6, validation_fraction=0.2), None, tmp_path / "pulled")
    (wrong,) = [m for m in compared.source_measures(pulled.views) if m.value > m.most]
    assert wrong.label == "activity.at (days behind)" and wrong.most == 1 / 24
