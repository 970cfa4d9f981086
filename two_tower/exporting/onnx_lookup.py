"""First part of a tower's ONNX file: the look-up of ids for raw Feast values, equal to `encoders.lookup` in training.

torch does not support strings, so this part consists of ONNX nodes: LabelEncoder for vocabularies, MurmurHash3 for
hashes.
"""

from collections.abc import Iterator, Sequence

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from two_tower.schema import EVENT_TIME, MISSING_INT, MISSING_STRING, Dtype, Feature, needs_event_time
from two_tower.training.network.fitted import Fitted, encoder, is_looked_up

ML_DOMAIN, HASH_DOMAIN = "ai.onnx.ml", "com.microsoft"
READY = "ready/"  # prefix of the outputs, which are the inputs of the network

_STRINGS = (Dtype.STRING, Dtype.STRINGS)
_FLOATS = (Dtype.FLOAT32, Dtype.FLOAT64, Dtype.FLOATS)
LISTS = (Dtype.STRINGS, Dtype.INTS, Dtype.FLOATS)


def graph(fitted: Sequence[Fitted]) -> onnx.GraphProto:
    """Build the look-up graph of a tower.

    Inputs: one per feature, with its name, in order; then `event_time` if a feature is an age. Outputs: the same names
    with the prefix `ready/`. A feature with a look-up becomes int64 ids of the same shape; the others do not change.

    Args:
        fitted: Fitted features of the tower.

    Returns:
        The graph.
    """
    nodes: list[NodeProto] = []
    inputs: list[ValueInfoProto] = []
    outputs: list[ValueInfoProto] = []
    for f in fitted:
        shape = _shape(f)
        kind = element_type(f.feature)
        looked_up = is_looked_up(f.feature)
        nodes.extend(_nodes(f) if looked_up else [_identity(f.feature.name)])
        inputs.append(helper.make_tensor_value_info(f.feature.name, kind, shape))
        ready = TensorProto.INT64 if looked_up else kind
        outputs.append(helper.make_tensor_value_info(READY + f.feature.name, ready, shape))
    if needs_event_time(tuple(f.feature for f in fitted)):
        nodes.append(_identity(EVENT_TIME))
        inputs.append(helper.make_tensor_value_info(EVENT_TIME, TensorProto.INT64, ["batch"]))
        outputs.append(helper.make_tensor_value_info(READY + EVENT_TIME, TensorProto.INT64, ["batch"]))
    return helper.make_graph(nodes, "lookup", inputs, outputs)


def _shape(f: Fitted) -> list[str | int]:
    if f.feature.dtype == Dtype.FLOATS:
        return ["batch", encoder(f.feature).list_length(f)]
    return ["batch", f"{f.feature.name}_length"] if f.feature.dtype in LISTS else ["batch"]


def element_type(f: Feature) -> int:
    """Return the ONNX element type of a feature's input."""
    if f.dtype in _STRINGS:
        return int(TensorProto.STRING)
    return int(TensorProto.FLOAT if f.dtype in _FLOATS else TensorProto.INT64)


def _identity(name: str) -> NodeProto:
    return helper.make_node("Identity", [name], [READY + name])


def _nodes(fitted: Fitted) -> Iterator[NodeProto]:
    name, text = fitted.feature.name, fitted.feature.dtype in _STRINGS
    if encoder(fitted.feature).lookup == "vocabulary":
        yield _labels(name, READY + name, text, fitted.vocabulary, range(1, len(fitted.vocabulary) + 1), default=0)
        return
    inner = f"hash/{name}/"
    # 1 for a value and 0 for a missing one; then 1 + hash mod buckets, or 0.
    yield _labels(name, inner + "present", text, (), (), default=1)
    yield helper.make_node("MurmurHash3", [name], [inner + "hash"], domain=HASH_DOMAIN, seed=0, positive=1)
    yield helper.make_node("Cast", [inner + "hash"], [inner + "wide"], to=TensorProto.INT64)
    yield helper.make_node("Constant", [], [inner + "buckets"], value_int=fitted.feature.buckets)
    yield helper.make_node("Mod", [inner + "wide", inner + "buckets"], [inner + "bucket"])
    yield helper.make_node("Constant", [], [inner + "one"], value_int=1)
    yield helper.make_node("Add", [inner + "bucket", inner + "one"], [inner + "id"])
    yield helper.make_node("Mul", [inner + "id", inner + "present"], [READY + name])


def _labels(
    source: str, target: str, text: bool, keys: Sequence[str] | Sequence[int], ids: Sequence[int], default: int
) -> NodeProto:
    """A LabelEncoder with id 0 for the missing value. So no vocabulary is empty, which the operator would reject."""
    missing = MISSING_STRING if text else MISSING_INT
    name = "keys_strings" if text else "keys_int64s"
    labels = {name: [missing, *keys], "values_int64s": [0, *ids], "default_int64": default}
    return helper.make_node("LabelEncoder", [source], [target], domain=ML_DOMAIN, **labels)
