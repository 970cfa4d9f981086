import numpy as np

from two_tower.datasets import world
from two_tower.datasets.preferences import DAY, START, Oracle, numbers


def test_users_interact_with_each_item_once_after_both_exist() -> None:
    users, items = world.make_users(np.random.default_rng(0)), world.make_items(np.random.default_rng(1))
    user, item, seconds = world.simulate(np.random.default_rng(2), users, world.make_oracle(users, items), 0.2)
    assert len({*zip(user.tolist(), item.tolist(), strict=True)}) == len(user) > 10_000
    days = (seconds - START) / DAY
    assert (days > users.signed_up[user]).all() and (days > items.listed[item]).all()
    assert days.min() >= 0 and days.max() < world.DAYS


def test_the_score_of_one_trait_is_its_product_and_novelty_fades() -> None:
    """One user who wants trait 0 twice and novelty once; two items with 3 and 0 of the trait, listed at the start."""
    one, two = np.zeros(1), np.zeros(2)
    oracle = Oracle(
        wants=np.array([[2.0]]),
        wants_later=np.array([[2.0]]),
        swapped_on=one,
        signed_up=one,
        novelty_wanted=np.ones(1),
        has=np.array([[3.0], [0.0]]),
        listed=two,
        popularity=two,
        swing=two,
        phase=two,
    )
    assert oracle.on_day(np.array([0]), 0).tolist() == [[7.0, 1.0]]
    on_day_14 = oracle.scores(np.array(["u00000"]), np.array(["i00001", "i00000"]), np.array([START + 14 * DAY]))
    np.testing.assert_allclose(on_day_14, [[np.exp(-1), 6 + np.exp(-1)]], rtol=1e-6)


def test_numbers_of_ids() -> None:
    assert numbers(np.array(["u00042", "i00007"])).tolist() == [42, 7]
