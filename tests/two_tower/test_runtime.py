from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from tests.devices import CUDA, DEVICES
from two_tower.errors import InputError
from two_tower.runtime import PROVIDERS, open_session

TWICE = '<ir_version: 10, opset_import: ["" : 21]> twice (float[n] x) => (float[n] y) { y = Add(x, x) }'


@pytest.fixture
def model(tmp_path: Path) -> Path:
    onnx.save(parser.parse_model(TWICE), tmp_path / "twice.onnx")
    return tmp_path / "twice.onnx"


@pytest.mark.parametrize("device", DEVICES)
def test_a_session_runs_on_the_requested_device(model: Path, device):
    session = open_session(model, device, threads=1)
    assert session.get_providers()[0] == PROVIDERS[device]
    assert session.run(None, {"x": np.array([1.5], dtype=np.float32)})[0].tolist() == [3]


@pytest.mark.skipif(CUDA, reason="this machine has a GPU to run on")
def test_a_fall_back_to_the_cpu_is_refused(model: Path):
    with pytest.raises(InputError, match="'cuda': ONNX Runtime provides only CPUExecutionProvider"):
        open_session(model, "cuda")


def test_an_absent_or_torn_file_is_named(model: Path):
    with pytest.raises(InputError, match=r"absent\.onnx"):
        open_session(model.with_name("absent.onnx"))
    model.write_bytes(model.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"twice\.onnx is not a complete ONNX model"):
        open_session(model)
