"""A whole training with plug-ins of a user, and what happens with faulty ones."""

from dataclasses import replace

import pyarrow as pa
import pytest

from tests.two_tower import plugged
from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.data.pulled import Pulled
from two_tower.errors import InputError
from two_tower.exporting import parity
from two_tower.exporting.export import export
from two_tower.schema import feature
from two_tower.training.network.model import load
from two_tower.training.train import train

HERE = "tests.two_tower.plugged"
SMALL = {"dim": 8, "feature_dim": 8, "hidden": 16, "batch_size": 64, "device": "cpu"}
OWN = {
    "loss": f"{HERE}:HingeLoss",
    "negatives": f"{HERE}:EvenSampler",
    "history": f"{HERE}:NewestFirst",
    "callbacks": f"{HERE}:Epochs",
}


def with_encoder(name: str) -> Pulled:
    """Items with a price, which the encoder reads, and the parity of the item's number, on which all depends."""
    world = checkerboard()
    f = feature("price", "Float32", {"encoding": f"{HERE}:{name}"})

    def priced(table: pa.Table) -> pa.Table:
        numbers = [int(item[1:]) for item in table["item"].to_pylist()]
        return table.append_column("price", pa.array([None if n % 9 == 8 else n % 2 for n in numbers], pa.float32()))

    contract = replace(world.contract, item=(*world.contract.item, f))
    return replace(world, contract=contract, item=priced(world.item), catalogue=priced(world.catalogue))


@pytest.mark.parametrize("stream", ["off", "on"])
def test_a_model_of_plug_ins_is_trained_saved_and_exported(tmp_path, stream):
    world = with_encoder("RankEncoder")
    world.write(tmp_path / "pulled")
    plugged.Epochs.seen.clear()
    source = tmp_path / "pulled" if stream == "on" else world
    result = train(source, TrainConfig(**SMALL | OWN, epochs=8, stream=stream), tmp_path / "model", [])
    assert result["best"]["recall@20"] > 0.8 and plugged.Epochs.seen == list(range(1, len(result["history"]) + 1))
    model = load(tmp_path / "model")
    assert model.config.loss == OWN["loss"] and model.contract.item[-1].encoding == f"{HERE}:RankEncoder"
    export(model, tmp_path / "towers")
    assert parity.check(model, tmp_path / "towers", world).passed


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"loss": "no_such_module:Loss"}, "loss=no_such_module:Loss: importing 'no_such_module' failed"),
        ({"loss": f"{HERE}:LossPerUser"}, "loss=.*LossPerUser does not follow the protocol of a loss"),
        ({"negatives": f"{HERE}:SamplerUnmasked"}, "SamplerUnmasked does not follow the protocol of a sampler"),
        ({"history": f"{HERE}:HistoryNotALayer"}, "HistoryNotALayer does not follow the protocol of a history"),
        ({"callbacks": f"{HERE}:NoSuch"}, "callbacks=.*unknown attribute 'NoSuch'"),
    ],
)
def test_a_faulty_plug_in_is_named_and_nothing_written(tmp_path, settings, problem):
    with pytest.raises(InputError, match=problem):
        train(checkerboard(), TrainConfig(**SMALL, **settings, epochs=1), tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["NoSuchEncoder", "HingeLoss"])
def test_a_faulty_encoder_names_its_field_and_nothing_is_written(tmp_path, name):
    with pytest.raises(InputError, match=f"field 'price': encoding={HERE}:{name}"):
        train(with_encoder(name), TrainConfig(**SMALL, epochs=1), tmp_path / "model")
    assert not (tmp_path / "model").exists()
