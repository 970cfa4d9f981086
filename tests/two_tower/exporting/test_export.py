from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.two_tower.conftest import untrained
from two_tower.exporting.export import export
from two_tower.inputs import table_from_rows, to_inputs
from two_tower.runtime import open_session
from two_tower.schema import EVENT_TIME, MISSING_INT, MISSING_STRING, Contract
from two_tower.training.network.encoders import prepare
from two_tower.training.network.model import Model


def both(model: Model, folder: Path, tower, inputs):
    with torch.no_grad():
        expected = getattr(model.network, tower)(prepare(model.encoders, tower, inputs)).numpy()
    (embedding,) = open_session(folder / f"{tower}_tower.onnx", threads=1).run(["embedding"], inputs)
    return embedding, expected


@pytest.mark.parametrize("tower", ["user", "item"])
@pytest.mark.parametrize("rows", [1, 2, 200])
def test_raw_values_give_torchs_embedding(world, model, exported, tower, rows):
    table = getattr(world, tower).slice(0, rows)
    inputs = to_inputs(table, world.contract.tower(tower), world.seconds[:rows])
    embedding, expected = both(model, exported, tower, inputs)
    assert embedding.shape == (rows, 16) and embedding.dtype == np.float32
    np.testing.assert_allclose(embedding, expected, atol=2e-6)


@pytest.mark.parametrize("tower", ["user", "item"])
def test_unknown_and_missing_values(world, model, exported, tower):
    """One row of unknown values, one of missing values, and lists that are longer than any in training."""
    inputs = to_inputs(getattr(world, tower).slice(0, 2), world.contract.tower(tower), world.seconds[:2])
    for name in inputs.keys() - {EVENT_TIME}:
        values = inputs[name].copy()
        never = {"O": "never seen", "i": 2**40, "f": 1e30}[values.dtype.kind]
        missing = {"O": MISSING_STRING, "i": MISSING_INT, "f": np.nan}[values.dtype.kind]
        values[0], values[1] = never, missing
        inputs[name] = np.tile(values, (1, 30)) if values.ndim == 2 and values.dtype.kind != "f" else values
    embedding, expected = both(model, exported, tower, inputs)
    assert np.isfinite(embedding).all()
    np.testing.assert_allclose(embedding, expected, atol=2e-6)


@pytest.mark.parametrize("tower", ["user", "item"])
def test_every_input_reaches_the_embedding(world, exported, tower):
    features = world.contract.tower(tower)
    rows = getattr(world, tower).to_pylist()
    row = {f.name: next(r[f.name] for r in rows if r[f.name] not in (None, [])) for f in features}
    session = open_session(exported / f"{tower}_tower.onnx", threads=1)

    def embed(row):
        inputs = to_inputs(table_from_rows([row], features), features, world.seconds[:1])
        if "portrait" in row and row["portrait"] is None:
            inputs["portrait"] = np.full((1, 3), np.nan, dtype=np.float32)
        return session.run(["embedding"], inputs)[0]

    for f in features:
        assert np.abs(embed(row) - embed({**row, f.name: None})).max() > 1e-4, f.name


def test_inputs_and_metadata_are_the_contract(world, exported):
    for tower in ("user", "item"):
        session = open_session(exported / f"{tower}_tower.onnx")
        names = [f.name for f in world.contract.tower(tower)] + [EVENT_TIME]
        assert [i.name for i in session.get_inputs()] == names
        assert [(o.name, o.shape) for o in session.get_outputs()] == [("embedding", ["batch", 16])]
        metadata = session.get_modelmeta().custom_metadata_map
        assert Contract.from_json(metadata["contract"]) == world.contract
        assert (metadata["embedding_space"], metadata["similarity"]) == ("space-1", "cosine")
    kinds = {i.name: (i.type, i.shape) for i in open_session(exported / "user_tower.onnx").get_inputs()}
    assert kinds["country"] == ("tensor(string)", ["batch"])
    assert kinds["recent_items"] == ("tensor(string)", ["batch", "recent_items_length"])
    assert kinds["member"] == ("tensor(int64)", ["batch"])
    assert kinds["score"] == ("tensor(float)", ["batch"])
    assert kinds["portrait"] == ("tensor(float)", ["batch", 3])


def test_the_files_contain_no_path_of_this_machine_and_are_the_only_ones(exported):
    assert {p.name for p in exported.iterdir()} == {"user_tower.onnx", "item_tower.onnx"}
    for path in exported.iterdir():
        assert b".py" not in path.read_bytes()
        onnx.checker.check_model(onnx.load(path))


def test_embeddings_of_other_similarities_keep_their_length_and_nothing_is_printed(world, tmp_path, capfd):
    model = untrained(world, similarity="euclidean")
    export(model, tmp_path)
    output = capfd.readouterr()
    assert (output.out, output.err) == ("", "")
    inputs = to_inputs(world.item.slice(0, 20), world.contract.item, world.seconds[:20])
    embedding, expected = both(model, tmp_path, "item", inputs)
    np.testing.assert_allclose(embedding, expected, rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(embedding, axis=1).std() > 0.1
    properties = {p.key: p.value for p in onnx.load(tmp_path / "item_tower.onnx").metadata_props}
    assert properties["similarity"] == "euclidean"
