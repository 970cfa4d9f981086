"""A refresh of the items: the towers that serve, over the catalogue as it is now."""

import json
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from two_tower.data.catalogue import Catalogue, shard_names
from two_tower.errors import InputError
from two_tower.releases import index_shards, refresh, release
from two_tower.releases.item_index import build_index
from two_tower.releases.manifest import Manifest
from two_tower.releases.release import Release
from two_tower.schema import Dtype, Encoding, Feature


@pytest.fixture
def served(world, exported, tmp_path):
    """The folder of the current release, which was trained on the world."""
    releases = str(tmp_path / "releases")
    build_index(exported, world, tmp_path / "index")
    manifest = Manifest(
        dataset="world",
        contract=world.contract,
        bounds={"as_of": world.bounds.as_of.isoformat(), "train_end": world.bounds.train_end.isoformat()},
        embedding_space="space-1",
        metrics={"two_tower": {"recall@20": 0.5}},
        gates={"data": {"passed": True, "reasons": []}},
        settings={},
        versions={},
        licence="CC0",
    )
    refresh.fetch(releases, release.publish(releases, [exported, tmp_path / "index"], manifest), tmp_path / "served")
    return tmp_path / "served"


@pytest.fixture
def later(world) -> Catalogue:
    """A day later there is one item more, like the first in all but its key."""
    now = Catalogue.from_pulled(world)
    first = now.items.slice(0, 1)
    new = first.set_column(0, world.contract.item_key, pa.array(["brand-new"]))
    return replace(now, as_of=now.as_of + timedelta(days=1), items=pa.concat_tables([now.items, new]))


def embedded(served, catalogue: Catalogue, folder) -> list:
    folders = [folder / f"part{n}" for n in range(3)]
    for part, path in zip(shard_names(3), folders, strict=True):
        index_shards.embed_part(served, catalogue, part, path)
    return folders


def test_a_new_item_is_in_the_next_release_of_the_same_towers(served, later, tmp_path) -> None:
    releases = str(tmp_path / "releases")
    before = release.current(releases)
    verdict = refresh.assemble(served, later, embedded(served, later, tmp_path), tmp_path / "new")
    assert verdict.passed and verdict.details["items"] == verdict.details["items_before"] + 1
    made = refresh.publish(served, tmp_path / "new", later, verdict, releases)
    assert made != before and release.current(releases) == before, "publishing activates nothing"
    assert refresh.publish(served, tmp_path / "new", later, verdict, releases) == made

    manifest = release.verify(releases, made)
    old = Release.read(served).manifest
    assert (manifest.as_of, manifest.train_end) == (later.as_of, old.train_end)
    assert manifest.gates == {**old.gates, "refresh": {"passed": True, "reasons": []}}
    assert manifest.model_extra == {"licence": "CC0"}, "a field that this version does not know is kept"
    same = [name for name in old.files if manifest.files[name] == old.files[name]]
    assert sorted(same) == ["item_tower.onnx", "user_tower.onnx", "users.json"]
    items = pq.read_table(tmp_path / "releases" / made / "items.parquet")
    assert items[later.contract.item_key][-1].as_py() == "brand-new"
    profiles = [json.loads((folder / "profile.json").read_text()) for folder in (served, tmp_path / "new")]
    assert profiles[0]["user"] == profiles[1]["user"], "users are as when the towers were trained"


def test_a_catalogue_that_lost_most_of_its_items_is_held(served, later, tmp_path) -> None:
    few = replace(later, items=later.items.slice(0, 2))
    verdict = refresh.assemble(served, few, embedded(served, few, tmp_path), tmp_path / "new")
    assert not verdict.passed and verdict.gate == "refresh"
    assert "the catalogue has 2 items" in verdict.reasons[0]


def test_other_item_features_need_other_towers(served, later, tmp_path) -> None:
    more = Feature(name="brand", dtype=Dtype.STRING, encoding=Encoding.CATEGORICAL)
    other = replace(later, contract=replace(later.contract, item=(*later.contract.item, more)))
    with pytest.raises(InputError, match=r"other item features.*brand.*Run the training pipeline"):
        refresh.assemble(served, other, [], tmp_path / "new")
