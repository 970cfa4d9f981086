"""The ablation: which features each row reads, which users are drawn, and its quick form."""

from pathlib import Path

import pytest

from benchmarks import ablation
from tests.benchmarks.test_benchmarks import run
from tests.two_tower.worlds import checkerboard, every_encoding
from two_tower.data.pulled import Split


def names(feature_set: ablation.FeatureSet) -> tuple[list[str], list[str]]:
    contract = ablation.narrowed(ablation.with_user_id(every_encoding()), feature_set.kinds).contract
    return [f.name for f in contract.user], [f.name for f in contract.item]


def test_each_row_reads_what_it_says():
    rows = {feature_set.name: names(feature_set) for feature_set in ablation.STEPS}
    assert rows["ids"] == (["user"], ["item"])
    assert rows["ids, history"] == (["user", "recent_items"], ["item"])
    side = rows["ids, side features"]
    assert "country" in side[0] and "price" in side[1] and "recent_items" not in side[0]
    every = ablation.with_user_id(every_encoding()).contract
    assert rows["all, history by mean"] == ([f.name for f in every.user], [f.name for f in every.item])
    assert rows["all but the user's id"][0] == [f.name for f in every.user if f.name != "user"]


def test_the_user_s_id_is_the_key_of_each_event():
    world = every_encoding()
    extended = ablation.with_user_id(world)
    assert extended.user["user"].to_pylist() == world.interactions["user_id"].to_pylist()
    assert ablation.with_user_id(checkerboard()).contract == checkerboard().contract, "it has one"


def test_drawn_users_keep_all_that_they_did():
    world = checkerboard(users=20, items=40, per_user=16)
    drawn = ablation.sampled(world, 5)
    users = drawn.interactions["user_id"].to_pylist()
    assert len(set(users)) == 5 and len(users) == 5 * 16
    assert drawn.user["user"].to_pylist() == users and drawn.item.num_rows == len(users)
    assert len(drawn.rows(Split.TEST)) and drawn.catalogue is world.catalogue
    assert ablation.sampled(world, 0) is world is ablation.sampled(world, 20)


@pytest.mark.slow
def test_its_quick_form(tmp_path: Path):
    claims = run("ablation", tmp_path / "out.json")
    assert claims["checkerboard: all but the user's id"] == 1 > claims["checkerboard: popularity"]
