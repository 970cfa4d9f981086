import numpy as np
import pytest
import torch

from tests.two_tower.worlds import checkerboard, every_encoding
from two_tower.config import TrainConfig
from two_tower.data.pulled import Pulled, Split
from two_tower.errors import InputError
from two_tower.training.network.columns import Columns
from two_tower.training.network.encoders import fit, prepare_table
from two_tower.training.network.towers import TwoTower
from two_tower.training.sampling.batches import Positives, expand, log_q


def positives(world: Pulled, window: int = 100) -> Positives:
    encoders = fit(world)
    return Positives.of(world, encoders, TwoTower(encoders, TrainConfig()), window, torch.device("cpu"))


def test_an_epoch_draws_each_positive_once_from_one_stretch_of_time():
    columns = positives(checkerboard(), window=100)
    batches = columns.epoch(50, torch.Generator().manual_seed(0))
    assert torch.cat(batches).sort().values.tolist() == list(range(len(columns)))
    assert all(b.max() - b.min() <= 250 for b in batches)
    starts = [int(b.min()) for b in batches]
    assert starts != sorted(starts)


def test_mask_holds_the_users_own_items_and_what_the_user_took_before():
    world = checkerboard()
    rows = torch.arange(600, 660)
    batch = positives(world).batch(rows)
    user, item = world.interactions["user_id"].to_pylist(), world.interactions["item_id"].to_pylist()
    code = batch.item.unique()
    name = {c: item[r] for c, r in zip(batch.item.tolist(), rows.tolist(), strict=True)}
    mask = batch.mask(code, slice(0, 60))
    assert torch.equal(batch.mask(code, slice(20, 50)), mask[20:50])
    for u, i in enumerate(rows.tolist()):
        taken = {item[r] for r in range(i) if user[r] == user[i]}
        own = {item[r] for r in rows.tolist() if user[r] == user[i]}
        assert mask[u].tolist() == [name[c] in taken | own for c in code.tolist()]
    assert 0.1 < mask.float().mean() < 0.9


def test_takers_are_those_who_took_the_item_of_a_positive():
    world = checkerboard()
    rows = list(range(600, 660))
    user, item = world.interactions["user_id"].to_pylist(), world.interactions["item_id"].to_pylist()
    takers = positives(world).batch(torch.tensor(rows)).seen_by(slice(20, 50))
    for place, row in enumerate(rows[20:50]):
        for column, other in enumerate(rows):
            took = {item[r] for r in range(other) if user[r] == user[other]}
            own = {item[r] for r in rows if user[r] == user[other]}
            assert takers[place, column] == (item[row] in took | own)
    assert 0.1 < takers.float().mean() < 0.9


def test_spans_expand_to_their_places():
    span, place = expand(torch.tensor([5, 0, 9]), torch.tensor([2, 0, 3]))
    assert (span.tolist(), place.tolist()) == ([0, 0, 2, 2, 2], [5, 6, 9, 10, 11])


@pytest.mark.parametrize("name", ["user", "item"])
def test_packed_columns_are_what_the_tower_reads(name):
    world = every_encoding()
    encoders = fit(world)
    tower = getattr(TwoTower(encoders, TrainConfig()), name)
    read = tower.read(prepare_table(encoders, name, getattr(world, name), world.seconds))
    rows = torch.tensor([3, 3, 150])
    for packed, one in zip(Columns.of(read, torch.device("cpu")).take(rows), read, strict=True):
        assert torch.equal(packed, one[rows].to(packed.dtype))


def test_repeats_and_weightless_interactions_are_no_positives():
    world = checkerboard()
    table = world.interactions
    user, item = table["user_id"].to_pylist(), table["item_id"].to_pylist()
    weight = np.ones(len(user), dtype=np.float32)
    later = next(i for i in range(1, len(user)) if user[i] == user[0])
    item[later], weight[1] = item[0], 0.0  # user 0 takes the first item again; row 1 has no weight
    changed = table.set_column(1, "item_id", [item]).set_column(3, "weight", [weight])
    columns = positives(Pulled(world.contract, world.bounds, changed, world.user, world.item, world.catalogue))
    assert len(columns) == len(world.rows(Split.TRAIN)) - 2


def test_weights_that_leave_no_positive_are_told():
    world = checkerboard()
    none = world.interactions.set_column(3, "weight", [np.zeros(world.interactions.num_rows, dtype=np.float32)])
    with pytest.raises(InputError, match="0 training positives"):
        positives(Pulled(world.contract, world.bounds, none, world.user, world.item, world.catalogue))


def test_log_q_is_the_share_of_the_items_own_time():
    item = np.r_[np.zeros(1000, int), np.ones(1000, int)]  # item 0 in the first half alone
    share = np.exp(log_q(item, window=1000))
    assert share == pytest.approx(np.full(2000, (1000 + 100 * 0.5) / 1100), rel=1e-5)
    assert np.exp(log_q(item, window=10_000)) == pytest.approx(np.full(2000, 0.5), rel=1e-5)
