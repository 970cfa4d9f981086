import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from two_tower.errors import InputError
from two_tower.starter.files import read


def file(folder: Path, text: str, name: str = "t.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


@pytest.mark.parametrize(
    ("text", "names", "first"),
    [
        ("user,item\n1,a\n2,b\n", ["user", "item"], ["1", "a"]),
        ("1\t242\t3\n2\t302\t3\n", ["user_1", "user_2", "user_3"], ["1", "242", "3"]),
        (
            "1|Toy, Story (1995)|01-Jan-1995\n2|x|\n",
            ["user_1", "user_2", "user_3"],
            ["1", "Toy, Story (1995)", "01-Jan-1995"],
        ),
        (
            "1::Toy Story::Comedy|Drama\n2::Heat::Action\n",
            ["user_1", "user_2", "user_3"],
            ["1", "Toy Story", "Comedy|Drama"],
        ),
        ('id;name\n7;"a;b"\n8; c \n', ["id", "name"], ["7", "a;b"]),
        ("id,said\n1,\\N\n2,x\n", ["id", "said"], ["1", None]),
        ('"id","a ""quoted"" name"\r\n1,x\r\n', ["id", 'a "quoted" name'], ["1", "x"]),
    ],
)
def test_delimiter_header_and_nulls_are_told(tmp_path: Path, text: str, names: list[str], first: list[str]) -> None:
    table = read(file(tmp_path, text), "user", None)
    assert table.column_names == names
    assert list(table.slice(0, 1).to_pylist()[0].values()) == first


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
def test_text_of_any_encoding(tmp_path: Path, encoding: str) -> None:
    table = read(file(tmp_path, "id,city\n1,Köln\n2,Århus\n", encoding=encoding), "user", None)
    assert table.to_pylist() == [{"id": "1", "city": "Köln"}, {"id": "2", "city": "Århus"}]


def test_gzip_parquet_and_names_of_ones_own(tmp_path: Path) -> None:
    packed = tmp_path / "t.csv.gz"
    packed.write_bytes(gzip.compress(b"1,2\n3,4\n"))
    assert read(packed, "item", ["a", "b"]).to_pylist() == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert read(packed, "item", ["a"]).column_names == ["a", "item_2"], "the first columns' names are enough"
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", "item", None)["a"].to_pylist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("", None, "empty"),
        ("a,b\n", None, "no rows"),
        ("one\ntwo\nthree\n", None, "cannot detect the delimiter"),
        ("a,b\n1,2\n", ["x", "y", "z"], "has 2 columns; there are 3 names"),
        ("a,b\n1,2\n", ["b"], "has 2 columns; b is a duplicate name"),
        ("a,b\n" + "1,2\n" * 300 + "1,2,3\n", None, "corrupt"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, text: str, names: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(file(tmp_path, text), "user", names)


def test_what_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read(tmp_path / "none.csv", "user", None)
    with pytest.raises(InputError, match="not a valid parquet"):
        read(file(tmp_path, "PAR1", "t.parquet"), "user", None)
    with pytest.raises(InputError, match="corrupt or truncated"):
        read(file(tmp_path, "\x1f\x8bnothing", "t.csv.gz", "latin-1"), "user", None)
