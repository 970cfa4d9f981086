import numpy as np
import pytest
import torch
from worlds import checkerboard

from two_tower.batches import Positives, log_q
from two_tower.encoders import fit
from two_tower.pulled import Pulled, Split


def positives(world: Pulled, window: int = 100) -> Positives:
    return Positives.of(world, fit(world), window, torch.device("cpu"))


def test_an_epoch_draws_each_positive_once_from_one_stretch_of_time():
    columns = positives(checkerboard(), window=100)
    batches = columns.epoch(50, torch.Generator().manual_seed(0))
    assert torch.cat(batches).sort().values.tolist() == list(range(len(columns)))
    assert all(b.max() - b.min() <= 250 for b in batches)
    starts = [int(b.min()) for b in batches]
    assert starts != sorted(starts)


def test_mask_holds_the_users_own_rows_accidental_hits_and_what_the_user_took_before():
    world = checkerboard()
    rows = torch.arange(600, 660)
    mask = positives(world).batch(rows).mask
    user, item = world.interactions["user_id"].to_pylist(), world.interactions["item_id"].to_pylist()
    for u, i in enumerate(rows.tolist()):
        taken = {item[r] for r in range(i) if user[r] == user[i]}
        assert mask[u].tolist() == [item[j] in {*taken, item[i]} or user[j] == user[i] for j in rows.tolist()]
    assert 0.1 < mask.float().mean() < 0.9


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


def test_log_q_is_the_share_of_the_items_own_time():
    item = np.r_[np.zeros(1000, int), np.ones(1000, int)]  # item 0 in the first half alone
    share = np.exp(log_q(item, window=1000))
    assert share == pytest.approx(np.full(2000, (1000 + 100 * 0.5) / 1100), rel=1e-5)
    assert np.exp(log_q(item, window=10_000)) == pytest.approx(np.full(2000, 0.5), rel=1e-5)
