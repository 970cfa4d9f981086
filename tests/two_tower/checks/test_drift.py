"""The same distribution has not moved; one that has is named first."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from two_tower.checks.drift import REQUEST_TIME, compare, log_schema, read_log
from two_tower.errors import InputError
from two_tower.schema import feature
from two_tower.statistics.profile import profile

FEATURES = (
    feature("country", "String", {}),
    feature("age", "Int64", {}),
    feature("spend", "Float32", {}),
    feature("orders", "Int64", {"encoding": "bucketized"}),
    feature("joined", "UnixTimestamp", {}),
    feature("recent", "Array(Int64)", {"encoding": "history"}),
    feature("constant", "Int64", {}),
)
NOW, DAY = 1_700_000_000, 86_400


def rows(n: int, seed: int, **changed) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns = {
        "country": rng.choice(["de", "fr", "uk"], n, p=[0.6, 0.3, 0.1]).tolist(),
        "age": rng.integers(18, 80, n).tolist(),
        "spend": [None if rng.random() < 0.2 else x for x in rng.gamma(2, 10, n)],
        "orders": rng.poisson(1, n).tolist(),
        "joined": [int(NOW - x * DAY) * 1_000_000 for x in rng.uniform(0, 300, n)],
        "recent": [rng.choice(40, 5).tolist() for _ in range(n)],
        "constant": [7] * n,
        **changed,
    }
    schema = log_schema(FEATURES)
    return pa.table({**columns, REQUEST_TIME: [NOW] * n}, schema=schema)


@pytest.fixture
def trained() -> dict:
    table = rows(5000, 0)
    return profile(table, FEATURES, table[REQUEST_TIME].to_numpy())


def test_what_has_not_moved_is_told_so(trained) -> None:
    found = compare(trained, rows(2000, 1), FEATURES)
    assert {one.level for one in found} == {"none"}, found
    assert {one.feature for one in found} == {f.name for f in FEATURES}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("country", ["de", "pl"] * 1000),
        ("age", [60] * 2000),
        ("spend", [None] * 2000),
        ("spend", [1000.0] * 2000),
        ("orders", [4] * 2000),
        ("joined", [int(NOW - 900 * DAY) * 1_000_000] * 2000),
        ("recent", [[41, 42]] * 2000),
        ("constant", [7, 8] * 1000),
    ],
)
def test_what_has_moved_is_named_first(trained, name: str, values: list) -> None:
    first, *others = compare(trained, rows(2000, 2, **{name: values}), FEATURES)
    assert (first.feature, first.level) == (name, "strong")
    assert {one.level for one in others} == {"none"}


@pytest.mark.parametrize("replacement", ["random items", "one item", "unknown items", "empty lists"])
def test_half_of_the_histories_replaced_is_strong(replacement: str) -> None:
    """Of a thousand items, a history has the popular ones more often."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, 1001)

    def histories(n: int) -> list[list[int]]:
        return [rng.choice(1000, rng.integers(5, 30), p=popularity / popularity.sum()).tolist() for _ in range(n)]

    table = rows(5000, 0, recent=histories(5000))
    trained = profile(table, FEATURES, table[REQUEST_TIME].to_numpy())
    replaced = {
        "random items": lambda: rng.choice(1000, 15).tolist(),
        "one item": lambda: [3] * 15,
        "unknown items": lambda: rng.choice(1000, 15).tolist(),
        "empty lists": list,
    }[replacement]
    offset = 5000 if replacement == "unknown items" else 0
    for n in (200, 2000):
        recent = [[i + offset for i in replaced()] if k % 2 else h for k, h in enumerate(histories(n))]
        levels = {one.feature: one.level for one in compare(trained, rows(n, 1, recent=recent), FEATURES)}
        assert levels.pop("recent") == "strong"
        assert set(levels.values()) == {"none"}


def test_samples_of_the_training_rows_drift_in_at_most_5_percent_of_200_draws() -> None:
    table = rows(3000, 0)
    trained, rng = profile(table, FEATURES, table[REQUEST_TIME].to_numpy()), np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        sample = table.take(pa.array(rng.choice(table.num_rows, 200, replace=False)))
        alarms += any(one.level != "none" for one in compare(trained, sample, FEATURES))
    assert alarms <= 10


def test_an_age_that_grows_with_the_clock_has_not_drifted(trained) -> None:
    later = rows(2000, 1)
    place = later.column_names.index(REQUEST_TIME)
    later = later.set_column(place, REQUEST_TIME, pa.array([NOW + 200 * DAY] * 2000))
    assert {one.level for one in compare(trained, later, FEATURES)} == {"none"}


def test_of_few_rows_and_of_a_feature_without_a_profile_nothing_is_said(trained) -> None:
    assert {one.level for one in compare(trained, rows(50, 3), FEATURES)} == {"unknown"}
    del trained["features"]["age"]
    told = {one.feature: one.psi for one in compare(trained, rows(2000, 3), FEATURES)}
    assert told["age"] is None
    assert told["spend"] is not None


def test_a_log_is_read_by_release_and_time(tmp_path) -> None:
    (tmp_path / "r1").mkdir()
    pq.write_table(rows(30, 0), tmp_path / "r1" / "1-1-1.parquet")
    pq.write_table(rows(20, 1), tmp_path / "r1" / "2-1-2.parquet")
    assert read_log(tmp_path, "r1").num_rows == 50
    assert read_log(tmp_path, "r1", since=NOW + 1).num_rows == 0
    with pytest.raises(InputError, match=r"'r2'\. Allowed: r1"):
        read_log(tmp_path, "r2")
    with pytest.raises(InputError, match="--feature-log"):
        read_log(tmp_path / "none", "r1")
