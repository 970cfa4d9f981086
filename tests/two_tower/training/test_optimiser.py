import pytest
import torch

from tests.two_tower.worlds import checkerboard
from two_tower.config import TrainConfig
from two_tower.training.network.encoders import fit
from two_tower.training.network.towers import TwoTower
from two_tower.training.optimiser import Average, Optimiser, factor, split


def network(**settings) -> tuple[TwoTower, TrainConfig]:
    torch.manual_seed(0)
    config = TrainConfig(dim=4, feature_dim=4, hidden=4, **settings)
    return TwoTower(fit(checkerboard()), config), config


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("constant", [1 / 3, 2 / 3, 1, 1, 1, 1]),
        ("linear", [1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25]),
        ("cosine", [1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447]),
    ],
)
def test_the_rate_rises_and_falls_by_the_schedule(schedule, rates):
    config = TrainConfig(schedule=schedule, warmup=2)
    assert [factor(step, 6, config) for step in range(1, 7)] == pytest.approx(rates, abs=1e-6)


def test_only_large_tables_are_sparse_and_only_touched_rows_of_them_move():
    towers, config = network(sparse_rows=60)  # 80 items, 40 users
    sparse, dense = split(towers)
    assert [len(p) for p in sparse] == [81] and len(dense) == len(list(towers.parameters())) - 1
    before = sparse[0].detach().clone()
    towers.train()
    read = towers.item.read({"item": torch.tensor([3, 5])})
    towers.item.embed(read)[:, 0].sum().backward()
    Optimiser(towers, config, 10).step(1)
    moved = (sparse[0] != before).any(dim=1)
    assert {3, 5} >= set(moved.nonzero().flatten().tolist()) - {0} and moved[[3, 5]].any()


def test_the_average_follows_and_shares_sparse_tables():
    towers, _ = network(sparse_rows=60)
    average = Average(towers, keep=0.5)
    with torch.no_grad():
        for p in towers.parameters():
            p.add_(1.0)
    old = [p.clone() for p in average.dense]
    average.update(100)
    for new, was in zip(average.dense, old, strict=True):
        torch.testing.assert_close(new, was + 0.5)
    assert split(average.network)[0][0] is split(towers)[0][0]
