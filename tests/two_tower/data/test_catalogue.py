from datetime import timedelta

import pyarrow as pa
import pytest

from tests.two_tower.worlds import START, checkerboard, weighted
from two_tower.data.catalogue import Catalogue, shard_names
from two_tower.errors import InputError
from two_tower.schema import POPULARITY


@pytest.fixture(scope="module")
def world():
    return checkerboard()


def test_popularity_counts_the_interactions_of_the_last_30_days(world) -> None:
    catalogue = Catalogue.from_pulled(world)
    since = world.bounds.as_of - timedelta(days=30)
    assert since > START, "some interactions are older"
    rows = world.interactions.to_pylist()
    expected = dict.fromkeys(catalogue.items["item_id"].to_pylist(), 0.0)
    for row in rows:
        expected[row["item_id"]] += row["event_timestamp"] > since
    assert dict(zip(*catalogue.items.select(["item_id", POPULARITY]).to_pydict().values(), strict=True)) == expected
    assert catalogue.users[0] == rows[-1]["user_id"], "the newest user first"


def test_popularity_ignores_interactions_of_weight_0(world) -> None:
    n = len(world.interactions)
    catalogue = Catalogue.from_pulled(weighted(world, [0.0] * (n - 1) + [2.0]))
    counts = dict(zip(*catalogue.items.select(["item_id", POPULARITY]).to_pydict().values(), strict=True))
    assert sum(counts.values()) == counts[world.interactions["item_id"][n - 1].as_py()] == 1


def test_all_shards_together_are_the_items_in_order(world) -> None:
    catalogue = Catalogue.from_pulled(world)
    shards = [catalogue.shard(name) for name in shard_names(7)]
    assert pa.concat_tables(shards) == catalogue.items
    assert {shard.num_rows for shard in shards} == {80 // 7, 80 // 7 + 1}


@pytest.mark.parametrize("name", ["0/4", "5/4", "1", "a/b", "1/4/4", "-1/4", ""])
def test_another_form_of_a_shard_name_is_an_error(world, name) -> None:
    with pytest.raises(InputError, match="NUMBER/COUNT"):
        Catalogue.from_pulled(world).shard(name)


def test_a_written_catalogue_reads_back_equal(world, tmp_path) -> None:
    catalogue = Catalogue.from_pulled(world)
    catalogue.write(tmp_path)
    assert Catalogue.read(tmp_path) == catalogue
