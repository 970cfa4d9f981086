from copy import deepcopy
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from tests.devices import DEVICES
from tests.two_tower.conftest import untrained
from tests.two_tower.worlds import checkerboard
from two_tower.exporting.export import export
from two_tower.exporting.parity import BATCHES, check


@pytest.fixture
def towers(exported, tmp_path) -> Path:
    """A copy of the exported towers that a test can change."""
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
    """Only rows with values that are not in the training data show this."""

    def change(graph):
        encoder = next(n for n in graph.graph.node if n.op_type == "LabelEncoder" and n.input[0] == "country")
        next(a for a in encoder.attribute if a.name == "default_int64").i = 1

    tamper(towers / "user_tower.onnx", change)
    assert not check(model, towers, world).passed


def test_files_of_another_model_hold(model, towers, world):
    def change(graph):
        next(p for p in graph.metadata_props if p.key == "embedding_space").value = "space-2"

    tamper(towers / "item_tower.onnx", change)
    assert check(model, towers, world).reasons == (
        "item_tower.onnx has the embedding_space of another model. Export again.",
    )


@pytest.fixture(scope="module")
def shop():
    """300 items, more than the top 100; the batches whose embeddings are compared leave some of them out."""
    return checkerboard(users=40, items=300, per_user=32)


@pytest.fixture(scope="module")
def shop_model(shop):
    return untrained(shop)


@pytest.fixture(scope="module")
def shop_towers(shop_model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shop_towers")
    export(shop_model, folder)
    return folder


def item_table(graph, model):
    """The embedding table of the item ids in the ONNX file: row 0 is for unknown items."""
    rows = 1 + len(model.encoders.item[0].vocabulary)
    return next(table for table in graph.graph.initializer if table.dims[:1] == [rows])


@pytest.mark.parametrize("wrong", [1, 40])
def test_the_overlap_covers_items_outside_the_compared_batches(shop, shop_model, shop_towers, tmp_path, wrong):
    """A wrong item is on the other side of the origin, so it enters or leaves the top 100 of many users."""
    copytree(shop_towers, tmp_path, dirs_exist_ok=True)
    rows = {row for size in BATCHES for row in np.linspace(0, shop.item.num_rows - 1, size).astype(int)}
    compared = {shop.item["item"][row].as_py() for row in rows}
    vocabulary = shop_model.encoders.item[0].vocabulary
    ids = [place + 1 for place, item in enumerate(vocabulary) if item not in compared][:wrong]

    def change(graph):
        table = item_table(graph, shop_model)
        values = numpy_helper.to_array(table).copy()
        values[ids] *= -1
        table.CopyFrom(numpy_helper.from_array(values, table.name))

    assert check(shop_model, shop_towers, shop).details["top_100_overlap"] == 1
    tamper(tmp_path / "item_tower.onnx", change)
    verdict = check(shop_model, tmp_path, shop)
    assert max(verdict.details["max_difference"].values()) < 1e-5
    assert verdict.details["top_100_overlap"] < 0.999
    assert len(verdict.reasons) == 1 and "of the top 100" in verdict.reasons[0], verdict.reasons


def test_the_overlap_ignores_the_order_of_items_that_tie(shop, shop_model, shop_towers, tmp_path):
    """In the file all items share an embedding, in the network to within 1e-7: any 100 of them are the top 100."""
    copytree(shop_towers, tmp_path, dirs_exist_ok=True)
    model = deepcopy(shop_model)

    def change(graph):
        table = item_table(graph, model)
        values = numpy_helper.to_array(table).copy()
        values[:] = values[1]
        table.CopyFrom(numpy_helper.from_array(values, table.name))
        noise = 1e-7 * np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
        with torch.no_grad():
            weight = next(w for w in model.network.item.parameters() if w.shape == values.shape)
            weight.copy_(torch.from_numpy(values + noise))

    tamper(tmp_path / "item_tower.onnx", change)
    assert check(model, tmp_path, shop).details["top_100_overlap"] == 1
