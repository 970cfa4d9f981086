import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from two_tower.datasets import source
from two_tower.datasets.source import Source, digest, files, locate
from two_tower.errors import InputError


@pytest.fixture(autouse=True)
def _no_shared_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TWO_TOWER_DATA", raising=False)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def official(tmp_path: Path) -> Iterator[Source]:
    """A publisher on this machine, with an archive of one wanted file and one that nobody asked for."""
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "toy.zip", "w") as archive:
        archive.writestr("toy/wanted.txt", "content\n")
        archive.writestr("toy/other.txt", "left out\n")
    sha256 = hashlib.sha256((site / "toy.zip").read_bytes()).hexdigest()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/toy.zip"
        yield Source(folder="toy", files=(("wanted.txt",),), url=url, sha256=sha256, licence="CC0")
        server.shutdown()
        thread.join()


def test_download_keeps_the_wanted_files_and_is_not_repeated(official: Source, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = locate(official, None, cache)
    assert [(p.name, p.read_text()) for p in folder.iterdir()] == [("wanted.txt", "content\n")]
    unreachable = replace(official, url="http://127.0.0.1:1/toy.zip")
    assert locate(unreachable, None, cache) == folder


def test_a_download_that_takes_long_says_how_far_it_is(
    official: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source, "_PROGRESS_INTERVAL", 0.0)
    monkeypatch.setattr(source, "_CHUNK", 64)
    locate(official, None, tmp_path)
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if line.startswith("downloading: ")]
    assert len(told) > 1 and all(re.fullmatch(r"downloading: [\d.]+ of [\d.]+ MB, about \d+ s left", t) for t in told)
    assert told[-1].endswith("about 0 s left") and said.out == ""


def test_another_archive_is_refused_and_nothing_is_kept(official: Source, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match=f"not {'0' * 64}: the download is corrupt"):
        locate(replace(official, sha256="0" * 64), None, cache)
    assert list(cache.iterdir()) == []


def test_what_is_no_zip_archive_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html>moved</html>")
    source = Source(folder="toy", files=(("wanted.txt",),), url=page.as_uri(), sha256=None, licence="CC0")
    with pytest.raises(InputError, match="not a valid zip archive"):
        locate(source, None, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network_the_error_says_where_to_put_the_data(official: Source, tmp_path: Path) -> None:
    unreachable = replace(official, url="http://127.0.0.1:1/toy.zip")
    with pytest.raises(InputError, match=r"cannot download http://127\.0\.0\.1:1/toy\.zip .*--data-dir.*/toy"):
        locate(unreachable, None, tmp_path / "cache")


def test_an_incomplete_data_dir_is_named_with_the_likely_one(official: Source, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "wanted.txt").write_text("here")
    with pytest.raises(InputError, match=r"lacks wanted\.txt.*Did you mean .*/toy\?"):
        locate(official, tmp_path, tmp_path / "cache")
    assert locate(official, tmp_path / "toy", tmp_path / "cache") == tmp_path / "toy"


def test_the_shared_folder_comes_before_a_download(
    official: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared" / "toy").mkdir(parents=True)
    (tmp_path / "shared" / "toy" / "wanted.txt").write_text("here")
    monkeypatch.setenv("TWO_TOWER_DATA", str(tmp_path / "shared"))
    assert locate(official, None, tmp_path / "cache") == tmp_path / "shared" / "toy"


def test_digest_follows_the_content(official: Source, tmp_path: Path) -> None:
    path = tmp_path / "wanted.txt"
    path.write_text("one")
    before = digest(files(official, tmp_path))
    path.write_text("two")
    assert digest(files(official, tmp_path)) != before
