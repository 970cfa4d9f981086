import pytest
import torch

from tests.two_tower.worlds import every_encoding
from two_tower.config import TrainConfig
from two_tower.training.network.encoders import fit, prepare_table
from two_tower.training.network.towers import TwoTower


@pytest.fixture(scope="module")
def world():
    return every_encoding()


@pytest.fixture(scope="module")
def encoders(world):
    return fit(world)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_both_towers_reach_one_space(world, encoders, similarity):
    torch.manual_seed(0)
    network = TwoTower(encoders, TrainConfig(dim=16, similarity=similarity)).eval()
    for name in ("user", "item"):
        embedding = getattr(network, name)(prepare_table(encoders, name, getattr(world, name), world.seconds))
        assert embedding.shape == (200, 16) and embedding.dtype == torch.float32 and embedding.isfinite().all()
        if similarity == "cosine":
            assert torch.allclose(embedding.norm(dim=1), torch.ones(200))


def test_history_and_item_id_share_one_table(encoders):
    network = TwoTower(encoders, TrainConfig())
    history = next(part for part in network.user.layers if part.name == "recent_items")
    ids = next(part for part in network.item.layers if part.name == "item")
    assert history.table is ids.table


def test_every_feature_and_weight_matters(world, encoders):
    torch.manual_seed(0)
    network = TwoTower(encoders, TrainConfig(dropout=0.0, id_dropout=0.0))
    inputs = prepare_table(encoders, "user", world.user, world.seconds)
    network.user(inputs).square().sum(dim=0)[:8].sum().backward()
    for name, p in network.user.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, name


def test_a_row_does_not_depend_on_its_batch(world, encoders):
    network = TwoTower(encoders, TrainConfig()).eval()
    inputs = prepare_table(encoders, "user", world.user, world.seconds)
    alone = torch.cat([network.user({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(10)])
    assert torch.allclose(alone, network.user(inputs)[:10], atol=1e-6)
