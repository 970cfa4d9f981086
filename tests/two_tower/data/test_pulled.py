from tests.two_tower.worlds import checkerboard
from two_tower.data import pulled as module
from two_tower.data.pulled import TABLES, Pulled, Split, write_description, write_part


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path) -> None:
    world = checkerboard()
    for name in TABLES:
        table = getattr(world, name)
        write_part(tmp_path, name, 10, table.slice(100))
        write_part(tmp_path, name, 9, table.slice(0, 100))
    write_description(tmp_path, world.contract, world.bounds, {"users": {"rows": 3}})
    read = Pulled.read(tmp_path)
    assert all(getattr(read, name) == getattr(world, name) for name in TABLES)
    assert (read.contract, read.bounds, read.views) == (world.contract, world.bounds, {"users": {"rows": 3}})


def test_tables_that_are_not_loaded_have_their_columns_but_no_rows(tmp_path) -> None:
    world = checkerboard()
    world.write(tmp_path)
    read = Pulled.read(tmp_path, ["catalogue"])
    assert read.catalogue == world.catalogue
    assert read.user.num_rows == 0 and read.user.schema == world.user.schema


def test_rows_of_a_split_and_seconds_and_the_catalogue_at_a_snapshot() -> None:
    world = checkerboard()
    assert sum(len(world.rows(split)) for split in Split) == world.interactions.num_rows
    assert world.rows(Split.TEST).tolist() == [
        i for i, s in enumerate(world.interactions["split"].to_pylist()) if s == "test"
    ]
    stamps = world.interactions[module.EVENT_TIMESTAMP].to_pylist()
    assert world.seconds.tolist() == [int(stamp.timestamp()) for stamp in stamps]
    at = world.catalogue_at(world.bounds.train_end)
    assert at.num_rows == 80 and module.SNAPSHOT not in at.column_names
