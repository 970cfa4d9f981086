"""Conversion of tensors of the Open Inference Protocol to the arrays that an ONNX file takes, and back."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from kserve import InferInput, InferOutput
from kserve.protocol.grpc.grpc_predict_v2_pb2 import InferParameter

from two_tower.errors import unknown
from two_tower.inputs import Array
from two_tower.recommender.errors import RequestError, invalid
from two_tower.schema import MISSING_INT, MISSING_STRING

MAX_BATCH = 1024  # rows of one request


class Tensor(NamedTuple):
    """An input or output: its datatype in the protocol's terms, and its shape, with -1 for a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """The tensor's metadata as JSON."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class _Kind(NamedTuple):
    dtype: Any
    missing: Any
    types: tuple[type, ...]


_KINDS = {
    "BYTES": _Kind(object, MISSING_STRING, (str, bytes)),
    "INT64": _Kind(np.int64, MISSING_INT, (int,)),
    "FP32": _Kind(np.float32, float("nan"), (int, float)),
}
_OF_ONNX = {"tensor(string)": "BYTES", "tensor(int64)": "INT64", "tensor(float)": "FP32"}


def of_onnx(values: Iterable[Any]) -> list[Tensor]:
    """Describe the inputs or outputs of an ONNX Runtime session."""
    return [
        Tensor(value.name, _OF_ONNX[value.type], tuple(d if isinstance(d, int) else -1 for d in value.shape))
        for value in values
    ]


def arrays(inputs: Sequence[InferInput], expected: Sequence[Tensor]) -> dict[str, Array]:
    """Convert the inputs of a request to arrays by name, all with the same number of rows.

    Raises:
        RequestError: 422; the message names the input.
    """
    tensors = {tensor.name: tensor for tensor in expected}
    for one in inputs:
        if one.name not in tensors:
            raise invalid(str(unknown("input", str(one.name)[:100], tensors)), "Remove it, or correct its name.")
    by_name = {one.name: one for one in inputs}
    missing = [name for name in tensors if name not in by_name]
    if missing or len(by_name) != len(inputs):
        names = ", ".join(missing) or "an input twice"
        raise invalid(f"{'Missing' if missing else 'Given'}: {names}.", "Send each input of the model's metadata once.")
    converted = {name: _array(by_name[name], tensor) for name, tensor in tensors.items()}
    batches = {len(array) for array in converted.values()}
    if len(batches) > 1:
        raise invalid(f"The inputs have {sorted(batches)} rows.", "All inputs must have the same number of rows.")
    return converted


def output(name: str, array: Array, *, raw: bool) -> InferOutput:
    """An output of strings (object), int64 or float32. raw: encode it as bytes, as gRPC sends it."""
    datatype = {"O": "BYTES", "i": "INT64", "f": "FP32"}[array.dtype.kind]
    tensor = InferOutput(name, list(array.shape), datatype, data=None if raw else array)
    if raw:
        tensor.set_data_from_numpy(array, binary_data=True)
    return tensor


def _array(sent: InferInput, tensor: Tensor) -> Array:
    if sent.datatype != tensor.datatype:
        raise _wrong(tensor, f"has the datatype {sent.datatype!r:.40}")
    shape = list(sent.shape)
    fits = len(shape) == len(tensor.shape) and all(
        type(d) is int and d >= 1 and free in (-1, d) for d, free in zip(shape, tensor.shape, strict=True)
    )
    if not fits or shape[0] > MAX_BATCH:
        raise _wrong(tensor, f"has the shape {str(shape)[:60]}")
    values = _values(sent, tensor)
    if len(values) != int(np.prod(shape, dtype=object)):
        raise _wrong(tensor, f"has {len(values)} elements for the shape {shape}")
    return values.reshape(shape)


def _values(sent: InferInput, tensor: Tensor) -> Array:
    """The elements, flat; a null is a missing value."""
    kind = _KINDS[tensor.datatype]
    raw = sent.data is None or sent.data == []  # binary data, or else as_numpy raises ValueError
    flat = (sent.as_numpy() if raw else np.array(sent.data, dtype=object)).reshape(-1)
    if raw and tensor.datatype != "BYTES":
        return np.asarray(flat, dtype=kind.dtype)
    values = [kind.missing if value is None else value for value in flat.tolist()]
    for value in values:
        if not isinstance(value, kind.types) or isinstance(value, bool):
            raise _wrong(tensor, f"holds {value!r:.40}")
    if tensor.datatype == "BYTES":
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        "".join(texts).encode()  # raises for half of a surrogate pair
        values = texts
    with np.errstate(over="ignore"):  # values beyond float32 give embeddings that are not finite, which are refused
        return np.array(values, dtype=kind.dtype)


def _wrong(tensor: Tensor, problem: str) -> RequestError:
    shape = ", ".join("any" if d < 0 else str(d) for d in tensor.shape)
    hint = f"It takes {tensor.datatype} with the shape [{shape}] and 1 to {MAX_BATCH} rows."
    return invalid(f"Input {tensor.name!r} {problem}.", hint)


def parameter(parameters: Any, name: str) -> Any:
    """A parameter of a request over REST or gRPC; None if it is absent."""
    if parameters is None or name not in parameters:
        return None
    value = parameters[name]
    choice = value.WhichOneof("parameter_choice") if isinstance(value, InferParameter) else None
    return getattr(value, choice) if choice else value
