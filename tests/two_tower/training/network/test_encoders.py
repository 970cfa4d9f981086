import json

import mmh3
import numpy as np
import pyarrow as pa
import pytest

from tests.two_tower.worlds import checkerboard, every_encoding
from two_tower.data.pulled import Split
from two_tower.inputs import to_inputs
from two_tower.schema import MISSING_INT, Encoding, feature
from two_tower.training.network.encoders import Encoders, Fitted, fit, lookup, prepare, prepare_table


@pytest.fixture(scope="module")
def world():
    return every_encoding()


@pytest.fixture(scope="module")
def encoders(world):
    return fit(world)


def fitted(encoders: Encoders, name: str) -> Fitted:
    return next(f for f in (*encoders.user, *encoders.item) if f.feature.name == name)


def test_vocabulary_holds_the_values_of_training_rows_the_most_frequent_first(world, encoders):
    seen = world.user["country"].take(world.rows(Split.TRAIN)).to_pylist()
    values = fitted(encoders, "country").vocabulary
    assert set(values) == set(seen) - {None}
    assert [seen.count(v) for v in values] == sorted((seen.count(v) for v in values), reverse=True)


def test_a_value_below_min_count_is_unknown(world):
    rare = world.user["zip"].take(world.rows(Split.TRAIN)).value_counts().to_pylist()
    expected = {v["values"] for v in rare if v["counts"] >= 2 and v["values"] is not None}
    assert set(fitted(fit(world), "zip").vocabulary) == expected


def test_values_of_later_rows_are_not_learned():
    world = checkerboard()
    users = world.user["user"].to_pylist()
    users[-1] = "latecomer"
    changed = type(world)(
        world.contract, world.bounds, world.interactions, world.user.set_column(0, "user", pa.array(users)),
        world.item, world.catalogue,
    )  # fmt: skip
    assert "latecomer" not in fitted(fit(changed), "user").vocabulary


def test_history_shares_the_table_of_the_item_id(encoders):
    history, ids = fitted(encoders, "recent_items"), fitted(encoders, "item")
    assert history.table == ids.table == "item:item"
    assert history.vocabulary == ids.vocabulary
    assert fitted(encoders, "topics").table == "user:topics"  # a bag of the same strings is no history


def test_an_item_that_nobody_took_has_no_id_but_known_contents(world, encoders):
    assert "i9" not in fitted(encoders, "item").vocabulary
    train = world.rows(Split.TRAIN)
    prices = world.item["price"].take(train).to_pylist() + world.catalogue["price"].to_pylist()[:9]
    assert fitted(encoders, "price").mean[0] == pytest.approx(np.mean(prices))


def test_lookup_gives_ids_of_the_same_shape_and_zero_for_the_unknown():
    f = Fitted(feature=feature("c", "Array(String)", {}), vocabulary=("b", "a"))
    raw = np.array([["a", "b", ""], ["z", "", ""]], dtype=object)
    assert lookup(f, raw).tolist() == [[2, 1, 0], [0, 0, 0]]
    numbers = Fitted(feature=feature("n", "Int64", {"encoding": "categorical"}), vocabulary=(7, -1))
    assert lookup(numbers, np.array([-1, 7, 8, MISSING_INT])).tolist() == [2, 1, 0, 0]


def test_hashed_ids_are_murmur3_of_bytes():
    text = Fitted(feature=feature("h", "String", {"encoding": "hashed", "buckets": "97"}))
    assert lookup(text, np.array(["é", ""], dtype=object)).tolist() == [mmh3.hash("é", 0, signed=False) % 97 + 1, 0]
    number = Fitted(feature=feature("h", "Int64", {"encoding": "hashed", "buckets": "97"}))
    expected = mmh3.hash(np.int64(-5).tobytes(), 0, signed=False) % 97 + 1
    assert lookup(number, np.array([-5, MISSING_INT])).tolist() == [expected, 0]


def test_heavy_tailed_counts_are_read_through_log1p():
    world = every_encoding()
    counts = np.r_[np.zeros(150), 10.0 ** np.arange(50) % 1e6]
    spend = world.user.schema.get_field_index("spend")
    user = world.user.set_column(spend, "spend", pa.array(counts, type=pa.float32()))
    skewed = fitted(
        fit(type(world)(world.contract, world.bounds, world.interactions, user, world.item, world.catalogue)), "spend"
    )
    train = np.log1p(counts[: len(world.rows(Split.TRAIN))].astype(np.float32))
    assert skewed.log and skewed.mean[0] == pytest.approx(train.mean(), rel=1e-5)
    assert not fitted(fit(world), "spend").log


def test_bin_edges_are_quantiles(world, encoders):
    levels = world.user["level"].take(world.rows(Split.TRAIN)).drop_null().to_numpy()
    assert fitted(encoders, "level").edges == tuple(np.unique(np.quantile(levels, [0.25, 0.5, 0.75])))


@pytest.mark.parametrize("tower", ["user", "item"])
def test_columns_and_inputs_give_the_same_tensors(world, encoders, tower):
    table = getattr(world, tower)
    one = prepare(encoders, tower, to_inputs(table, world.contract.tower(tower), world.seconds))
    other = prepare_table(encoders, tower, table, world.seconds)
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name].numpy(), other[name].numpy(), equal_nan=one[name].is_floating_point()), name
    stored = {f.feature.name for f in encoders.tower(tower) if f.feature.encoding == Encoding.HISTORY}
    assert all(str(other[name].dtype) == "torch.int32" for name in stored)


def test_encoders_survive_json(world, encoders):
    assert Encoders.from_dict(json.loads(json.dumps(encoders.to_dict())), world.contract) == encoders
