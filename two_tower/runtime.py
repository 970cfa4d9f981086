"""ONNX Runtime sessions on the requested device."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

from two_tower.errors import InputError
from two_tower.inputs import Array

Device = Literal["cpu", "cuda"]
PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class InMemory(NamedTuple):
    """A model that was derived from a file and is not on disk.

    Attributes:
        model: The serialised ONNX model.
        tables: The external initializers of the model, by name. They must live as long as the session.
    """

    model: bytes
    tables: dict[str, Array]


def open_session(
    path: Path, device: Device = "cpu", threads: int | None = None, in_memory: InMemory | None = None
) -> ort.InferenceSession:
    """Open an ONNX Runtime session for an ONNX file.

    With CUDA, operators without a CUDA kernel (those on strings) run on the CPU. Products keep the full precision of
    float32: TensorFloat-32, which rounds the factors to 11 bits of significand, is off.

    Args:
        path: The ONNX file.
        device: The device to run on.
        threads: The number of CPU threads for one call. None: one thread per core.
        in_memory: A model to open instead of the model in the file.

    Returns:
        The session.

    Raises:
        InputError: If the file does not exist, the file is not a complete ONNX model, or ONNX Runtime cannot run on
            the device. ONNX Runtime itself falls back to the CPU without an error.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist. Pass a folder that the export step wrote, or a release.")
    options = ort.SessionOptions()
    # Log errors only: with CUDA, ONNX Runtime warns about every operator on strings that it leaves on the CPU.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    if device == "cuda":
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
        ort.set_default_logger_severity(3)  # the CUDA kernels ignore the log level of the session
    if in_memory:
        values = [ort.OrtValue.ortvalue_from_numpy(table) for table in in_memory.tables.values()]
        options.add_external_initializers(list(in_memory.tables), values)
    providers: list[Any] = [PROVIDERS["cpu"]]
    if device == "cuda":
        providers.insert(0, (PROVIDERS["cuda"], {"use_tf32": "0"}))
    try:
        session = ort.InferenceSession(in_memory.model if in_memory else path, options, providers=providers)
    except (Fail, InvalidGraph, InvalidProtobuf) as error:
        raise InputError(f"{path} is not a complete ONNX model: {error}. Export the model again.") from error
    provider = session.get_providers()[0]
    if provider != PROVIDERS[device]:
        raise InputError(
            f"{path.name} cannot run on {device!r}: ONNX Runtime provides only {provider}. Check the CUDA driver and "
            "libraries, or set the device to 'cpu'."
        )
    return session
