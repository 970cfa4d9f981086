import gzip
import zipfile
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather, orc

from two_tower.errors import InputError
from two_tower.starter import files

CSV = "user_id,item_id,ts\nu1,7,2024-01-01\nu2,8,2024-01-02\n"
ROWS = [
    {"user_id": "u1", "item_id": "7", "ts": "2024-01-01"},
    {"user_id": "u2", "item_id": "8", "ts": "2024-01-02"},
]


def file(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(path: Path, names: list[str] | None = None) -> list[dict]:
    return files.read(path, "interaction", names).table.to_pylist()


def test_the_content_tells_the_format(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS)
    frame.to_parquet(tmp_path / "a", index=False)
    feather.write_feather(frame, str(tmp_path / "b"))
    orc.write_table(pa.Table.from_pandas(frame), str(tmp_path / "c"))
    frame.to_json(tmp_path / "d", orient="records")
    frame.to_json(tmp_path / "e", orient="records", lines=True)
    file(tmp_path, CSV, "f.parquet")
    for name in ("a", "b", "c", "f.parquet"):
        assert rows(tmp_path / name) == ROWS
    for name in ("d", "e"):
        assert files.read(tmp_path / name, "interaction").table["user_id"].to_pylist() == ["u1", "u2"]
    assert files.read(tmp_path / "f.parquet", "interaction").from_text
    assert not files.read(tmp_path / "e", "interaction").from_text


def test_json_lines_with_records_in_records_and_values_of_several_types(tmp_path: Path) -> None:
    lines = (
        '{"user": {"id": "u1", "tags": ["a", null]}, "n": 1, "at": "2024-01-01T13:00:00+01:00"}\n'
        '{"user": {"id": "007"}, "n": "x", "at": "2024-01-01T13:00:00Z", "late": 0.5}\n'
    )
    table = files.read(file(tmp_path, gzip.compress(lines.encode())), "interaction").table
    assert table.column_names == ["user.id", "user.tags", "n", "at", "late"]
    assert table["user.id"].to_pylist() == ["u1", "007"]
    assert table["user.tags"].to_pylist() == [["a"], None]
    assert table["n"].to_pylist() == ["1", "x"]
    assert [time.hour for time in table["at"].to_pylist()] == [12, 13]


def test_a_folder_a_pattern_and_an_archive_are_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    for n, day in enumerate(("2024-01-01", "__HIVE_DEFAULT_PARTITION__")):
        (folder / f"day={day}").mkdir(parents=True)
        pq.write_table(pa.table({"user_id": [n, n + 5]}), folder / f"day={day}" / "part-0.parquet")
    file(folder, "", "_SUCCESS")
    expected = [(0, "2024-01-01"), (5, "2024-01-01"), (1, None), (6, None)]
    assert [tuple(row.values()) for row in rows(folder)] == expected
    assert [tuple(row.values()) for row in rows(folder / "*" / "*.parquet")] == expected
    assert files.read(folder, "user").notes == ("parts: 2 files were read.",)
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("x/a.csv", CSV)
        archive.writestr("__MACOSX/._a.csv", "resource fork")
        archive.writestr("x/b.csv", CSV)
    assert rows(tmp_path / "t.zip") == 2 * ROWS


def test_files_of_several_formats_and_with_a_new_column(tmp_path: Path) -> None:
    file(tmp_path, CSV, "mixed/a.csv")
    file(tmp_path, '{"user_id": "u3", "item_id": 9, "ts": "2024-01-03"}\n', "mixed/b.json")
    read = files.read(tmp_path / "mixed", "interaction")
    assert read.from_text and read.table.to_pylist() == [*ROWS, {"user_id": "u3", "item_id": "9", "ts": "2024-01-03"}]
    (tmp_path / "new").mkdir()
    pq.write_table(pa.table({"a": pa.array([1], pa.int32())}), tmp_path / "new" / "1.parquet")
    pq.write_table(pa.table({"a": [2], "b": [3]}), tmp_path / "new" / "2.parquet")
    assert rows(tmp_path / "new") == [{"a": 1, "b": None}, {"a": 2, "b": 3}]


def test_row_numbers_are_left_out(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user_id": ["a", "b", "c"], "age": [1, 2, 3]})
    frame[frame.age > 1].to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv")
    pd.read_csv(tmp_path / "t.csv").to_csv(tmp_path / "u.csv", index=False)
    for name, column in (("t.parquet", "__index_level_0__"), ("t.csv", "column_1"), ("u.csv", "Unnamed: 0")):
        source = files.read(tmp_path / name, "user")
        assert list(source.left_out) == [column] and source.kinds[column] == "left out"
    assert files.read(tmp_path / "t.csv", "user", ["number"]).left_out == {}, "the user named it"
    frame.set_index("user_id").to_parquet(tmp_path / "named.parquet")
    assert files.read(tmp_path / "named.parquet", "user").left_out == {}, "an index with a name is a column"
    text = files.read(file(tmp_path, ",age\nu1,3\nu2,4\n", "x.csv"), "user")
    assert (text.left_out, text.table.column_names) == ({}, ["column_1", "age"])


def test_repeated_names_get_a_suffix(tmp_path: Path) -> None:
    source = files.read(file(tmp_path, "id,name,id,name,name_2\n1,a,2,b,c\n"), "user")
    assert source.table.column_names == ["id", "name", "id_2", "name_3", "name_2"]
    assert source.notes[0] == "t.csv: 'id' is a repeated name: column 3 is called 'id_2'."


def test_names_of_the_first_columns(tmp_path: Path) -> None:
    path = file(tmp_path, "1,2\n3,4\n")
    assert rows(path) == [{"interaction_1": "1", "interaction_2": "2"}, {"interaction_1": "3", "interaction_2": "4"}]
    assert rows(path, ["a"])[0] == {"a": "1", "interaction_2": "2"}
    for names, message in (
        (["x", "y", "z"], "has 2 columns; there are 3 names"),
        (["b", "b"], "b is a duplicate name"),
    ):
        with pytest.raises(InputError, match=message):
            rows(path, names)


def test_texts_of_missing_values_are_null_in_typed_files_too(tmp_path: Path) -> None:
    pd.Series(["a", None, float("nan")]).astype(str).to_frame("user_id").to_parquet(tmp_path / "t.parquet")
    assert files.read(tmp_path / "t.parquet", "user").table["user_id"].to_pylist() == ["a", None, None]


def test_the_head_of_a_file(tmp_path: Path) -> None:
    many = file(tmp_path, "user_id,item_id\n" + "u1,7\n" * 100_000)
    pq.write_table(pa.table({"user_id": range(100_000)}), tmp_path / "t.parquet")
    lines = file(tmp_path, '{"user_id": 1}\n' * 100_000, "t.json")
    for path in (many, tmp_path / "t.parquet", lines):
        head = files.read(path, "user", head=True).table
        assert 1_000 < head.num_rows < 100_000
        assert head.schema == files.read(path, "user").table.schema


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("a,b\n", "no rows"),
        (b"PAR1", "not a valid parquet"),
        (b"\x1f\x8bnothing", "corrupt or truncated"),
        ('{"a": 1}\n{"a":\n', r"t\.csv is not valid JSON.*byte"),
        ('{"a": {"0": 1}, "b": {"0": 2}}', "one JSON object"),
        ("<!DOCTYPE html><html>moved</html>", "a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\x80\x04\x95", "a pickle file"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x00" * 257 + b"ustar\x00", "a tar archive"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rows(file(tmp_path, content))


def test_a_missing_path_and_folders_that_are_not_one_table(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.csv", "does not exist"), (tmp_path / "*.csv", "no file matches")):
        with pytest.raises(InputError, match=message):
            rows(path)
    (tmp_path / "lake" / "_delta_log").mkdir(parents=True)
    with pytest.raises(InputError, match="Delta Lake table"):
        rows(tmp_path / "lake")
    file(tmp_path, CSV, "two/a.csv")
    file(tmp_path, "id,age\n1,2\n", "two/b.csv")
    with pytest.raises(InputError, match=r"unlike a\.csv, b\.csv has the column 'id'"):
        rows(tmp_path / "two")
