"""The catalogue in shards: the same index, however many there are."""

from pathlib import Path

import numpy as np
import pytest

from two_tower.data.catalogue import Catalogue, shard_names
from two_tower.errors import InputError
from two_tower.releases import index_shards
from two_tower.releases.item_index import build_index
from two_tower.retrieval.index import Index


def embedded(towers: Path, catalogue: Catalogue, count: int, folder: Path) -> list[Path]:
    folders = [folder / f"part{n}" for n in range(count)]
    for part, path in zip(shard_names(count), folders, strict=True):
        index_shards.embed_part(towers, catalogue, part, path)
    return folders


@pytest.mark.parametrize("count", [1, 3, 50])
def test_shards_in_any_order_give_the_index_of_one_piece(world, exported, tmp_path, count: int) -> None:
    """50 are more than there are items: some shards are empty."""
    catalogue = Catalogue.from_pulled(world)
    folders = embedded(exported, catalogue, count, tmp_path)
    index_shards.assemble_pulled(exported, world, folders[::-1], tmp_path / "sharded")
    build_index(exported, world, tmp_path / "whole")
    for name in ("items.parquet", "profile.json"):
        assert (tmp_path / "sharded" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    query = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    one, other = (Index(tmp_path / name / "index.onnx").search(query, k=4) for name in ("sharded", "whole"))
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_a_missing_shard_and_one_of_another_catalogue_are_refused(world, exported, tmp_path) -> None:
    catalogue = Catalogue.from_pulled(world)
    folders = embedded(exported, catalogue, 3, tmp_path)
    with pytest.raises(InputError, match="shards 2/3 of the catalogue are missing"):
        index_shards.assemble_pulled(exported, world, [folders[0], folders[2]], tmp_path / "out")
    (half,) = embedded(exported, catalogue, 2, tmp_path / "two")[:1]
    with pytest.raises(InputError, match="shards 1/2 do not belong to the 3 shards"):
        index_shards.assemble_pulled(exported, world, [*folders, half], tmp_path / "out")
    np.save(folders[1] / index_shards.EMBEDDINGS, np.zeros((99, 16), np.float32))
    with pytest.raises(InputError, match="belong to different runs"):
        index_shards.assemble_pulled(exported, world, folders, tmp_path / "out")


@pytest.mark.parametrize("part", ["", "0/3", "4/3", "1", "a/b", "-1/3"])
def test_a_shard_that_is_none(world, part: str) -> None:
    with pytest.raises(InputError, match="NUMBER/COUNT"):
        Catalogue.from_pulled(world).shard(part)


def test_a_catalogue_survives_a_folder(world, tmp_path) -> None:
    catalogue = Catalogue.from_pulled(world)
    catalogue.write(tmp_path)
    again = Catalogue.read(tmp_path)
    assert again.items.equals(catalogue.items)
    assert (again.as_of, again.users, again.contract) == (catalogue.as_of, catalogue.users, catalogue.contract)
    assert again.users[0] == world.interactions["user_id"][-1].as_py()
