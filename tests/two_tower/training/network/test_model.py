import pytest
import torch

from tests.two_tower.worlds import every_encoding
from two_tower.config import TrainConfig
from two_tower.errors import InputError
from two_tower.training.network import model
from two_tower.training.network.encoders import fit, prepare_table
from two_tower.training.network.towers import TwoTower


@pytest.fixture(scope="module")
def world():
    return every_encoding()


def saved(world, folder, seed=0):
    torch.manual_seed(seed)
    encoders, config = fit(world), TrainConfig(dim=16)
    network = TwoTower(encoders, config).eval()
    return network, model.save(folder, network, encoders, world.contract, config, [])


def test_a_loaded_model_is_the_saved_one(world, tmp_path):
    network, space = saved(world, tmp_path)
    loaded = model.load(tmp_path)
    assert (loaded.encoders, loaded.contract, loaded.embedding_space) == (fit(world), world.contract, space)
    inputs = prepare_table(loaded.encoders, "user", world.user, world.seconds)
    assert torch.equal(loaded.network.user(inputs), network.user(inputs))
    assert not loaded.network.training


def test_embedding_space_tells_weights_apart(world, tmp_path):
    spaces = [saved(world, tmp_path / str(i), seed)[1] for i, seed in enumerate([0, 0, 1])]
    assert spaces[0] == spaces[1] != spaces[2]


def test_half_a_model_is_refused_by_name(world, tmp_path):
    saved(world, tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(InputError, match=r"model\.json is missing"):
        model.load(tmp_path)
