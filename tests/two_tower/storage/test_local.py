import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from two_tower.errors import ConflictError
from two_tower.storage import TEMPORARY, open_storage


def test_a_failed_write_leaves_no_folder(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        open_storage(tmp_path / "root").write_folder("one", {"absent": tmp_path / "absent"})
    assert list((tmp_path / "root").iterdir()) == []


def test_a_folder_can_be_read_by_other_users_and_leaves_no_temporary_file(tmp_path) -> None:
    storage = open_storage(tmp_path)
    storage.write_folder("one", {"a.txt": b"first"})
    storage.replace("current", b"one\n", None)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("one", "current")] == [0o755, 0o644]
    assert not list(tmp_path.glob(f"{TEMPORARY}*"))


def test_a_temporary_folder_is_removed_only_after_a_day(tmp_path) -> None:
    storage = open_storage(tmp_path)
    for name in ("young", "old"):
        (tmp_path / f"{TEMPORARY}{name}").mkdir()
    os.utime(tmp_path / f"{TEMPORARY}old", (0, 0))
    storage.write_folder("one", {"a.txt": b"first"})
    assert [path.name for path in tmp_path.glob(f"{TEMPORARY}*")] == [f"{TEMPORARY}young"]
    assert storage.folders() == ["one"]


def test_links_and_folders_are_listed_as_such(tmp_path) -> None:
    storage = open_storage(tmp_path)
    storage.write_folder("one", {"a.txt": b"first"})
    (tmp_path / "one" / "sub").mkdir()
    (tmp_path / "one" / "link").symlink_to("a.txt")
    (tmp_path / "one" / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "one" / "pipe")
    kinds = {entry.name: entry.kind for entry in storage.entries("one")}
    assert kinds == {"a.txt": "file", "sub": "folder", "link": "link", "dangling": "link", "pipe": "link"}


def test_of_many_writers_from_one_content_one_succeeds(tmp_path) -> None:
    storage = open_storage(tmp_path)
    storage.replace("current", b"before", None)

    def write(content: bytes) -> bool:
        try:
            open_storage(tmp_path).replace("current", content, b"before")
        except ConflictError:
            return False
        return True

    contents = [b"%d" % n for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        succeeded = [content for content, done in zip(contents, pool.map(write, contents), strict=True) if done]
    assert succeeded == [storage.read("current")]
