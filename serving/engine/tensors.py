"""Tensors of the Open Inference Protocol as the arrays that an ONNX file takes, and back."""

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
    """What an input or output is: its datatype in the protocol's words, and its shape, -1 where it is free."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


class _Kind(NamedTuple):
    dtype: Any
    missing: Any
    takes: tuple[type, ...]


_KINDS = {
    "BYTES": _Kind(object, MISSING_STRING, (str, bytes)),
    "INT64": _Kind(np.int64, MISSING_INT, (int,)),
    "FP32": _Kind(np.float32, float("nan"), (int, float)),
}
_OF_ONNX = {"tensor(string)": "BYTES", "tensor(int64)": "INT64", "tensor(float)": "FP32"}


def of_onnx(values: Iterable[Any]) -> list[Tensor]:
    """The inputs or outputs of an ONNX Runtime session."""
    return [
        Tensor(value.name, _OF_ONNX[value.type], tuple(d if isinstance(d, int) else -1 for d in value.shape))
        for value in values
    ]


def arrays(given: Sequence[InferInput], wanted: Sequence[Tensor]) -> dict[str, Array]:
    """The arrays of a request's inputs, by name, all of as many rows. Raises RequestError 422, naming the input."""
    tensors = {tensor.name: tensor for tensor in wanted}
    for one in given:
        if one.name not in tensors:
            raise invalid(str(unknown("input", str(one.name)[:100], tensors)), "Leave it out, or mend its name.")
    by_name = {one.name: one for one in given}
    missing = [name for name in tensors if name not in by_name]
    if missing or len(by_name) != len(given):
        names = ", ".join(missing) or "an input twice"
        raise invalid(f"{'Missing' if missing else 'Given'}: {names}.", "Give each input of the model's metadata once.")
    found = {name: _array(by_name[name], tensor) for name, tensor in tensors.items()}
    batches = {len(array) for array in found.values()}
    if len(batches) > 1:
        raise invalid(f"The inputs have {sorted(batches)} rows.", "All inputs have as many rows.")
    return found


def output(name: str, array: Array, *, raw: bool) -> InferOutput:
    """An output of strings (object), int64 or float32. raw: as bytes already, as gRPC sends it."""
    datatype = {"O": "BYTES", "i": "INT64", "f": "FP32"}[array.dtype.kind]
    made = InferOutput(name, list(array.shape), datatype, data=None if raw else array)
    if raw:
        made.set_data_from_numpy(array, binary_data=True)
    return made


def _array(given: InferInput, tensor: Tensor) -> Array:
    if given.datatype != tensor.datatype:
        raise _wrong(tensor, f"has the datatype {given.datatype!r:.40}")
    shape = list(given.shape)
    fits = len(shape) == len(tensor.shape) and all(
        type(d) is int and d >= 1 and free in (-1, d) for d, free in zip(shape, tensor.shape, strict=True)
    )
    if not fits or shape[0] > MAX_BATCH:
        raise _wrong(tensor, f"has the shape {str(shape)[:60]}")
    values = _values(given, tensor)
    if len(values) != int(np.prod(shape, dtype=object)):
        raise _wrong(tensor, f"has {len(values)} elements for the shape {shape}")
    return values.reshape(shape)


def _values(given: InferInput, tensor: Tensor) -> Array:
    """The elements, flat; a null is a missing value."""
    kind = _KINDS[tensor.datatype]
    raw = given.data is None or given.data == []  # then it is binary, or a ValueError
    flat = (given.as_numpy() if raw else np.array(given.data, dtype=object)).reshape(-1)
    if raw and tensor.datatype != "BYTES":
        return np.asarray(flat, dtype=kind.dtype)
    values = [kind.missing if value is None else value for value in flat.tolist()]
    for value in values:
        if not isinstance(value, kind.takes) or isinstance(value, bool):
            raise _wrong(tensor, f"holds {value!r:.40}")
    if tensor.datatype == "BYTES":
        texts = [value.decode() if isinstance(value, bytes) else value for value in values]
        "".join(texts).encode()  # half of a surrogate pair is no text
        values = texts
    with np.errstate(over="ignore"):  # what is beyond float32 gives no finite embedding, and is refused for that
        return np.array(values, dtype=kind.dtype)


def _wrong(tensor: Tensor, what: str) -> RequestError:
    shape = ", ".join("any" if d < 0 else str(d) for d in tensor.shape)
    hint = f"It takes {tensor.datatype} of the shape [{shape}], of 1 to {MAX_BATCH} rows."
    return invalid(f"Input {tensor.name!r} {what}.", hint)


def parameter(parameters: Any, name: str) -> Any:
    """A request's parameter, of REST or of gRPC; None where it is not given."""
    if parameters is None or name not in parameters:
        return None
    value = parameters[name]
    choice = value.WhichOneof("parameter_choice") if isinstance(value, InferParameter) else None
    return getattr(value, choice) if choice else value
