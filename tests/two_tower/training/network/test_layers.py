import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from two_tower.schema import MISSING_INT, feature
from two_tower.training.network.encoders import Fitted, fit_feature
from two_tower.training.network.layers import Age, Bag, Bucketized, Cyclic, History, Lookup, Numeric, Vector


def table(rows: int) -> torch.nn.Embedding:
    """Row i holds (i, 10 i)."""
    weight = torch.arange(rows, dtype=torch.float32).unsqueeze(1) * torch.tensor([1.0, 10.0])
    return torch.nn.Embedding.from_pretrained(weight)


def test_bag_is_the_mean_of_the_known():
    ids = torch.tensor([[1, 3, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0]])
    assert Bag("b", table(4))({"b": ids}).tolist() == [[2, 20], [2, 20], [0, 0]]


def test_history_weighs_by_place_from_the_newest_whatever_the_padding():
    history = History("h", table(4), max_length=2)
    with torch.no_grad():
        history.recency.copy_(torch.tensor([math.log(3), 0.0]))  # the newest thrice as much as the one before
    short = history({"h": torch.tensor([[1, 3]])})
    assert short[0].tolist() == pytest.approx([2.5, 25])
    assert torch.equal(history({"h": torch.tensor([[1, 0, 3, 0, 0]])}), short)
    assert history({"h": torch.tensor([[3, 3, 3, 3]])})[0].tolist() == pytest.approx([3, 30])  # longer than max_length


@pytest.mark.parametrize(
    ("dtype", "raw"), [("Float32", torch.tensor([5.0, math.nan])), ("Int64", torch.tensor([5, MISSING_INT]))]
)
def test_numeric_is_standardised_and_missing_is_flagged(dtype, raw):
    layer = Numeric(Fitted(feature=feature("x", dtype, {}), mean=(3.0,), std=(4.0,)))
    assert layer({"x": raw}).tolist() == [[0.5, 0], [0, 1]]


def test_numeric_clips_and_takes_infinity():
    layer = Numeric(Fitted(feature=feature("x", "Float32", {}), log=True, mean=(0.0,), std=(1.0,)))
    values = layer({"x": torch.tensor([math.e - 1, math.inf, -math.inf])})[:, 0]
    assert values.tolist() == pytest.approx([1, 5, -5])


def test_what_lies_beyond_training_reads_as_its_extremes():
    column = pa.chunked_array([pa.array([1.0, 2.0, 3.0], pa.float32())])
    layer = Numeric(fit_feature(feature("x", "Float32", {}), column, np.zeros(3), ""))
    inside, beyond = layer({"x": torch.tensor([1.0, 3.0])}), layer({"x": torch.tensor([-100.0, 100.0])})
    torch.testing.assert_close(inside, beyond)


def test_age_counts_days_before_the_event():
    layer = Age(Fitted(feature=feature("t", "UnixTimestamp", {}), mean=(0.0,), std=(1.0,)))
    inputs = {"t": torch.tensor([0, MISSING_INT]), "event_time": torch.tensor([2 * 86_400, 5])}
    assert layer(inputs).tolist() == [[2, 0], [0, 1]]


def test_bins_hold_values_at_or_above_their_edge():
    layer = Bucketized(Fitted(feature=feature("x", "Float32", {"encoding": "bucketized"}), edges=(0.0, 1.0)), table(4))
    assert layer({"x": torch.tensor([math.nan, -1.0, 0.0, 0.5, 1.0])})[:, 0].tolist() == [0, 1, 2, 2, 3]


def test_cyclic_puts_the_same_hour_of_the_week_in_one_place():
    parts = Cyclic("t")({"t": torch.tensor([3600, 3600 + 7 * 86_400, 3600 + 86_400, -7 * 86_400 + 3600, MISSING_INT])})
    np.testing.assert_allclose(parts[0], parts[1], atol=1e-6)
    np.testing.assert_allclose(parts[0], parts[3], atol=1e-6)
    np.testing.assert_allclose(parts[0, :2], parts[2, :2], atol=1e-6)  # one hour of the day, another day
    assert (parts[0, 2:4] - parts[2, 2:4]).abs().max() > 0.1
    assert parts[4].tolist() == [0, 0, 0, 0, 1]


def test_a_missing_vector_is_its_flag_alone():
    layer = Vector(Fitted(feature=feature("v", "Array(Float32)", {}), mean=(0.0, 0.0), std=(1.0, 2.0)), width=3)
    out = layer({"v": torch.tensor([[math.nan, math.nan]])})
    assert torch.allclose(out[0], layer.project.bias + layer.project.weight[:, 2])


def test_id_dropout_reads_ids_as_unknown_in_training_alone():
    layer = Lookup("c", table(3), id_dropout=0.5)
    ids = {"c": torch.full((1000,), 2)}
    torch.manual_seed(0)
    assert 0.4 < (layer(ids)[:, 0] == 0).float().mean() < 0.6
    assert (layer.eval()(ids)[:, 0] == 2).all()
