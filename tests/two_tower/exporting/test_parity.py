from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.devices import DEVICES
from two_tower.exporting.parity import check


@pytest.fixture
def towers(exported, tmp_path) -> Path:
    """A copy that a test may tamper with."""
    for path in exported.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def tamper(path: Path, change) -> None:
    graph = onnx.load(path)
    change(graph)
    onnx.save(graph, path)


@pytest.mark.parametrize("device", DEVICES)
def test_the_export_of_a_model_passes(model, exported, world, device):
    verdict = check(model, exported, world, device)
    assert verdict.passed, verdict.reasons
    assert verdict.gate == "parity"
    assert verdict.details["top_100_overlap"] == 1
    assert max(verdict.details["max_difference"].values()) < 1e-5 and verdict.details["device"] == device


@pytest.mark.parametrize("tower", ["user", "item"])
def test_a_weight_that_was_tampered_with_holds(model, towers, world, tower):
    def change(graph):
        weight = max(graph.graph.initializer, key=lambda w: len(w.raw_data))
        values = numpy_helper.to_array(weight).copy()
        values.flat[:] += np.float32(1e-3)
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    tamper(towers / f"{tower}_tower.onnx", change)
    verdict = check(model, towers, world)
    assert not verdict.passed
    assert any(f"{tower}_tower.onnx differs" in reason for reason in verdict.reasons), verdict.reasons


def test_a_vocabulary_in_another_order_holds(model, towers, world):
    def change(graph):
        encoder = next(n for n in graph.graph.node if n.op_type == "LabelEncoder" and n.input[0] == "country")
        keys = next(a for a in encoder.attribute if a.name == "keys_strings").strings
        keys[1], keys[2] = keys[2], keys[1]

    tamper(towers / "user_tower.onnx", change)
    assert not check(model, towers, world).passed


def test_a_value_for_the_unknown_that_differs_holds(model, towers, world):
    """Only rows of values that training never saw can tell."""

    def change(graph):
        encoder = next(n for n in graph.graph.node if n.op_type == "LabelEncoder" and n.input[0] == "country")
        next(a for a in encoder.attribute if a.name == "default_int64").i = 1

    tamper(towers / "user_tower.onnx", change)
    assert not check(model, towers, world).passed


def test_files_of_another_model_hold(model, towers, world):
    def change(graph):
        next(p for p in graph.metadata_props if p.key == "embedding_space").value = "space-2"

    tamper(towers / "item_tower.onnx", change)
    assert check(model, towers, world).reasons == ("item_tower.onnx: its embedding_space is not the model's.",)
