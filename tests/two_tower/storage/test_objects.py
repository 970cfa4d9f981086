import uuid

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from two_tower.errors import StorageError
from two_tower.storage import open_storage


@pytest.fixture
def root() -> str:
    return f"/{uuid.uuid4()}/root"


def put(path: str, content: bytes = b"x") -> None:
    """Write an object under exactly this key, as any client of a bucket can."""
    MemoryFileSystem().pipe_file("/placeholder", content)
    MemoryFileSystem.store[path] = MemoryFileSystem.store["/placeholder"]


def test_a_missing_folder_cannot_be_copied(root, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="root/one"):
        open_storage(f"memory:/{root}").local("one", tmp_path)


@pytest.mark.parametrize("key", ["../escaped", "sub/../../escaped", "sub/../../../escaped", "/escaped"])
def test_a_key_that_leads_out_of_its_folder_is_refused(root, tmp_path, key) -> None:
    storage = open_storage(f"memory:/{root}")
    storage.write_folder("one", {"a.txt": b"first"})
    put(f"{root}/one/{key}")
    with pytest.raises(StorageError, match="leads out of its folder"):
        storage.local("one", tmp_path / "deep" / "cache")
    assert not list(tmp_path.rglob("escaped"))


def test_only_the_named_files_are_downloaded_each_up_to_its_limit(root, tmp_path) -> None:
    storage = open_storage(f"memory:/{root}")
    storage.write_folder("one", {"a.txt": b"12345", "b.txt": b"second"})
    folder = storage.local("one", tmp_path, {"a.txt": 5})
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    with pytest.raises(StorageError, match=r"a\.txt has 5 bytes, and at most 4"):
        storage.local("one", tmp_path / "second", {"a.txt": 4})
    assert not (tmp_path / "second" / "one" / "a.txt").exists() or (tmp_path / "second/one/a.txt").stat().st_size <= 4
