import os

from tests.two_tower import shop
from two_tower.data.fingerprint import fingerprint


def test_the_fingerprint_changes_with_the_definitions_and_with_a_source_file(tmp_path) -> None:
    repo = shop.write(tmp_path / "repo")
    first = fingerprint(repo)
    assert fingerprint(repo) == first and len(first) == 16
    source = repo / "data" / "orders.parquet"
    status = source.stat()
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    touched = fingerprint(repo)
    assert touched != first
    definitions = next(repo.glob("*.py"))
    definitions.write_text(definitions.read_text() + "\n# another line\n")
    assert fingerprint(repo) not in (first, touched)


def test_with_a_source_of_unknown_state_nothing_is_reused(tmp_path) -> None:
    other = shop.DEFINITIONS.replace("data/{name}", "nowhere://bucket/{name}")
    repo = shop.write(tmp_path / "repo", other)
    assert fingerprint(repo) != fingerprint(repo)


def test_a_repository_that_moves_keeps_its_fingerprint(tmp_path) -> None:
    repo = shop.write(tmp_path / "repo")
    before = fingerprint(repo)
    assert fingerprint(repo.rename(tmp_path / "moved")) == before
