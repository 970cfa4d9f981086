import bz2
import gzip
import lzma
from pathlib import Path

import pyarrow as pa
import pytest

from two_tower.errors import InputError
from two_tower.starter.raw_files import raw_files

TEXT = b"a,b\n1,2\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        gzip.compress(TEXT[:4]) + gzip.compress(TEXT[4:]),
        bz2.compress(TEXT),
        lzma.compress(TEXT),
        pa.compress(TEXT, codec="zstd", asbytes=True),
        pa.compress(TEXT, codec="lz4", asbytes=True),
        bz2.compress(gzip.compress(TEXT)),
    ],
    ids=["plain", "gzip", "bzip2", "xz", "zstd", "lz4", "twice"],
)
def test_the_first_bytes_tell_the_compression(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    (file,) = raw_files(tmp_path / "t", "user")
    assert (file.start, file.content(), file.content(3)) == (TEXT, TEXT, b"a,b")
    assert (file.path is None) == (content is not TEXT)


def test_a_truncated_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.gz").write_bytes(gzip.compress(bytes(1_000_000))[:-20])
    with pytest.raises(InputError, match=r"t\.gz is corrupt or truncated"):
        raw_files(tmp_path / "t.gz", "user")[0].content()


def test_files_of_a_folder_with_their_keys_in_order_without_hidden_ones(tmp_path: Path) -> None:
    for name in ("b=2/x%20y=1/2.csv", "b=2/1.csv", "_temporary/3.csv", ".4.csv.crc", "_SUCCESS"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(TEXT)
    found = raw_files(tmp_path, "user")
    assert [(file.name, file.keys) for file in found] == [("1.csv", {"b": "2"}), ("2.csv", {"b": "2"})]
    assert [file.keys for file in raw_files(tmp_path / "b=*", "user")] == [{"b": "2"}, {"b": "2"}]
