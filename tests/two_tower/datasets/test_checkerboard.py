import pyarrow.compute as pc

from two_tower.datasets import checkerboard


def test_everyone_takes_different_items_of_the_own_group_only() -> None:
    events = checkerboard.load(seed=3).interactions
    user, item = events["user_id"].to_numpy(), events["item_id"].to_numpy()
    assert (user % 2 == item % 2).all()
    assert len(set(zip(user, item, strict=True))) == len(user) == 60 * 30


def test_every_tenth_of_the_time_holds_events_of_every_user() -> None:
    events = checkerboard.load().interactions
    for start in range(0, events.num_rows, events.num_rows // 10):
        assert len(pc.unique(events["user_id"].slice(start, events.num_rows // 10))) == 60


def test_the_seed_decides() -> None:
    assert checkerboard.load(seed=1) == checkerboard.load(seed=1)
    assert checkerboard.load(seed=1) != checkerboard.load(seed=2)
