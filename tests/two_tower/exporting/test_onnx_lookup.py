import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from two_tower.exporting import onnx_lookup
from two_tower.exporting.onnx_lookup import HASH_DOMAIN, ML_DOMAIN
from two_tower.schema import EVENT_TIME, MISSING_INT, MISSING_STRING, feature
from two_tower.training.network.encoders import Fitted, lookup

WORDS = ["b", "é", "never seen", MISSING_STRING, "a"]
NUMBERS = [7, -3, 2**40, MISSING_INT, 5]


def run(fitted: Fitted, values: np.ndarray) -> np.ndarray:
    """The output of the look-up graph of one feature."""
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(ML_DOMAIN, 4), helper.make_opsetid(HASH_DOMAIN, 1)]
    model = helper.make_model(onnx_lookup.graph([fitted]), opset_imports=opsets, ir_version=10)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {fitted.feature.name: values}
    if EVENT_TIME in [i.name for i in session.get_inputs()]:
        inputs[EVENT_TIME] = np.zeros(len(values), dtype=np.int64)
    return session.run(None, inputs)[0]


@pytest.mark.parametrize(
    ("dtype", "vocabulary", "values"),
    [("String", ("a", "b", "é"), np.array(WORDS, dtype=object)), ("Int64", (5, 7, -3), np.array(NUMBERS))],
)
def test_ids_of_a_vocabulary_begin_at_one(dtype, vocabulary, values):
    fitted = Fitted(feature=feature("f", dtype, {"encoding": "categorical"}), vocabulary=vocabulary)
    expected = [vocabulary.index(v) + 1 if v in vocabulary else 0 for v in values.tolist()]
    assert run(fitted, values).tolist() == expected == lookup(fitted, values).tolist()


@pytest.mark.parametrize(("dtype", "values"), [("String", np.array(WORDS, dtype=object)), ("Int64", np.array(NUMBERS))])
def test_hashes_equal_those_of_training_and_missing_is_zero(dtype, values):
    fitted = Fitted(feature=feature("f", dtype, {"encoding": "hashed", "buckets": "50"}))
    ids = run(fitted, values)
    assert ids.tolist() == lookup(fitted, values).tolist()
    assert ids[3] == 0 and (np.delete(ids, 3) >= 1).all() and ids.max() <= 50 and len(set(ids.tolist())) > 3


def test_a_list_keeps_its_shape_and_an_empty_vocabulary_gives_zeros():
    values = np.array([["a", MISSING_STRING], ["c", "a"]], dtype=object)
    bag = feature("f", "Array(String)", {})
    assert run(Fitted(feature=bag, vocabulary=("c", "a")), values).tolist() == [[2, 0], [1, 2]]
    assert run(Fitted(feature=bag), values).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("dtype", ["Float32", "Int64", "UnixTimestamp"])
def test_other_features_do_not_change(dtype):
    fitted = Fitted(feature=feature("f", dtype, {}))
    values = np.array([1, 2, 3], dtype=np.float32 if dtype == "Float32" else np.int64)
    assert run(fitted, values).tolist() == [1, 2, 3]
    assert onnx_lookup.element_type(fitted.feature) == (TensorProto.FLOAT if dtype == "Float32" else TensorProto.INT64)
