"""The first part of a tower's ONNX file: raw Feast values to ids, as `encoders.lookup` does it in training.

torch knows no strings, so this part is written as ONNX nodes: LabelEncoder for vocabularies, MurmurHash3 for hashes.
"""

from collections.abc import Iterator, Sequence

import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from two_tower.schema import EVENT_TIME, MISSING_INT, MISSING_STRING, Dtype, Feature, needs_event_time
from two_tower.training.network.fitted import Fitted, encoder, is_looked_up

ML_DOMAIN, HASH_DOMAIN = "ai.onnx.ml", "com.microsoft"
READY = "ready/"  # prefix of the outputs, which the network takes

_STRINGS = (Dtype.STRING, Dtype.STRINGS)
_FLOATS = (Dtype.FLOAT32, Dtype.FLOAT64, Dtype.FLOATS)
LISTS = (Dtype.STRINGS, Dtype.INTS, Dtype.FLOATS)


def graph(fitted: Sequence[Fitted]) -> onnx.GraphProto:
    """Inputs: each feature by its name, in order, then `event_time` where an age needs it. Outputs: the same names
    under the prefix `ready/`: int64 ids of the same shape for looked-up features, all else as it came.
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
    """The ONNX element type of a feature's input."""
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
    # 1 where there is a value, 0 where it is missing; then 1 + hash mod buckets, or 0.
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
    """A LabelEncoder in which the missing value has the id 0; so no vocabulary is empty, which it would refuse."""
    missing = MISSING_STRING if text else MISSING_INT
    name = "keys_strings" if text else "keys_int64s"
    labels = {name: [missing, *keys], "values_int64s": [0, *ids], "default_int64": default}
    return helper.make_node("LabelEncoder", [source], [target], domain=ML_DOMAIN, **labels)
