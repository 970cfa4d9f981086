"""The side index of a release, without a service. Over HTTP: tests/serving/http/test_side_items.py."""

from dataclasses import replace
from pathlib import Path

from tests.two_tower import parts
from two_tower.recommender.catalogue import Catalogue
from two_tower.recommender.side_index import SideIndex, age
from two_tower.recommender.tower import Tower


def side_index(folder: Path, contract=parts.CONTRACT) -> SideIndex:
    files = folder / "files"
    if not files.is_dir():
        parts.write(files)
    tower = Tower(files, "item", contract, "cpu", threads=1)
    return SideIndex(folder / "releases", "space-1", contract, Catalogue(files, contract), tower)


def test_another_replica_reads_what_was_upserted_and_the_newest_row_counts(tmp_path: Path) -> None:
    one, other = side_index(tmp_path), side_index(tmp_path)
    assert age(other.items) == 0
    one.upsert({"new": {"colour": "blue"}}, now=1.0)
    one.upsert({"new": {"colour": "red"}, "i1": {"price": 99.0}}, now=2.0)
    other.refresh()
    assert set(other.items.ids) == {"new", "i1"} and other.items.new == 1
    assert other.items.embeddings[other.items.row_of["new"]].tolist() == [1, 0]
    assert other.items.replaced == [1] and age(other.items) > 0


def test_an_item_keeps_its_own_id_where_that_is_a_feature(tmp_path: Path) -> None:
    contract = replace(parts.CONTRACT, item_key="colour")  # the item tower takes the id; only "red" is at (1, 0)
    index = side_index(tmp_path, contract)
    index.upsert({"red": {"colour": "blue", "price": 5.0}, "green": {"colour": "red"}}, now=1.0)
    embeddings = dict(zip(index.items.ids, index.items.embeddings.tolist(), strict=True))
    assert embeddings == {"red": [1, 0], "green": [0, 1]}
