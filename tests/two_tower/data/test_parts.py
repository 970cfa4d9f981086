import numpy as np
import pyarrow as pa
import pytest

from tests.two_tower.worlds import checkerboard
from two_tower.data import pulled as module
from two_tower.data.parts import ROW_TABLES, Parts
from two_tower.data.pulled import TABLES, Pulled, Split, write_description, write_part


@pytest.fixture
def world() -> Pulled:
    return checkerboard()


@pytest.fixture
def parts(world, tmp_path, monkeypatch) -> Parts:
    """Two files per table, cut into row groups of 100 rows."""
    monkeypatch.setattr(module, "ROW_GROUP", 100)
    for name in TABLES:
        for number, (start, length) in enumerate([(0, 550), (550, 10_000)]):
            write_part(tmp_path, name, number, getattr(world, name).slice(start, length))
    write_description(tmp_path, world.contract, world.bounds, {})
    return Parts(tmp_path)


def test_pieces_follow_one_another_over_the_files(world, parts) -> None:
    assert parts.starts[:8] == [0, 100, 200, 300, 400, 500, 550, 650]
    assert len(parts) == parts.starts[-1] == world.interactions.num_rows
    pieces = [parts.piece(n) for n in range(len(parts.starts) - 1)]
    for name in ROW_TABLES:
        assert pa.concat_tables([getattr(p, name) for p in pieces]) == getattr(world, name)
    assert parts.piece(6, ["user"]).interactions.num_rows == 0
    assert parts.described.catalogue == world.catalogue


def test_spans_are_the_rows_of_the_splits(world, parts) -> None:
    for split in Split:
        assert np.arange(*parts.spans[split]).tolist() == world.rows(split).tolist()


def test_numbers_are_the_pieces_that_overlap_a_range(parts) -> None:
    assert parts.numbers(100, 200) == [1]
    assert parts.numbers(99, 201) == [0, 1, 2]
    assert parts.numbers(540, 551) == [5, 6]


def test_take_reads_rows_from_several_pieces(world, parts) -> None:
    rows = np.array([0, 99, 100, 549, 550, 1000])
    taken = parts.take(rows)
    for name in ROW_TABLES:
        assert getattr(taken, name) == getattr(world, name).take(pa.array(rows))
    assert parts.take(rows[:0]).interactions.num_rows == 0


def test_spaced_rows_are_even_and_at_most_as_many_as_allowed(parts) -> None:
    begin, end = parts.spans[Split.TRAIN]
    rows = parts.spaced(Split.TRAIN, 100)
    assert len(rows) <= 100 and len(set(np.diff(rows).tolist())) == 1 and begin == rows[0]
    assert parts.spaced(Split.TRAIN, end).tolist() == list(range(begin, end))


def test_the_digest_changes_with_a_byte_of_any_table(parts) -> None:
    before = parts.digest()
    assert parts.digest() == before
    path = parts.folder / "item" / "part-00001.parquet"
    path.write_bytes(path.read_bytes() + b" ")
    assert parts.digest() != before
