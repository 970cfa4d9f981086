"""ONNX Runtime sessions that run where they were asked to."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidGraph, InvalidProtobuf

from two_tower.errors import InputError
from two_tower.inputs import Array

Device = Literal["cpu", "cuda"]
PROVIDERS: dict[Device, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class InMemory(NamedTuple):
    """A model made of a file's, and what it declares as external tables, which have to live as long as a session."""

    model: bytes
    tables: dict[str, Array]


def open_session(
    path: Path, device: Device = "cpu", threads: int | None = None, made: InMemory | None = None
) -> ort.InferenceSession:
    """A session over an ONNX file; operators without a CUDA kernel (those on strings) stay on the CPU.

    threads: cores that one call may use; None takes all of them. made: what to open instead of the file's own model.
    float32 is float32 on CUDA too: without TensorFloat-32, which rounds the factors of products to 11 bits.
    Raises InputError where the file is absent or is no whole ONNX model, and where the device is not the one asked for:
    ONNX Runtime by itself falls back to the CPU without a word.
    """
    if not path.is_file():
        raise InputError(f"no ONNX file at {path}. Point to a folder that the export step or a release has written.")
    options = ort.SessionOptions()
    # Errors only: under CUDA it would warn of every operator on strings that it leaves to the CPU.
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    if device == "cuda":
        ort.preload_dlls()  # finds the CUDA libraries that pip installed
        ort.set_default_logger_severity(3)  # its CUDA kernels warn past the session's own options
    if made:
        values = [ort.OrtValue.ortvalue_from_numpy(table) for table in made.tables.values()]
        options.add_external_initializers(list(made.tables), values)
    providers: list[Any] = [PROVIDERS["cpu"]]
    if device == "cuda":
        providers.insert(0, (PROVIDERS["cuda"], {"use_tf32": "0"}))
    try:
        session = ort.InferenceSession(made.model if made else path, options, providers=providers)
    except (Fail, InvalidGraph, InvalidProtobuf) as error:
        raise InputError(f"{path} is not a whole ONNX model: {error}. Write it again.") from error
    got = session.get_providers()[0]
    if got != PROVIDERS[device]:
        raise InputError(
            f"{path.name} was to run on {device!r}, but ONNX Runtime offers {got} only. Check the CUDA driver and "
            "libraries, or ask for the device 'cpu'."
        )
    return session
