"""Releases on an S3 endpoint, for real but for its maker: moto's server, over HTTP."""

import asyncio
import json
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import boto3
import fsspec
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from tests.two_tower import parts
from two_tower.errors import InputError
from two_tower.releases import release
from two_tower.releases.manifest import REQUIRED, ReleaseError
from two_tower.storage import StorageError

RELEASES = "s3://shop/releases"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def server():
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def s3(server: str, monkeypatch: pytest.MonkeyPatch):
    """A bucket, and this process set up to use it as a pod would be: by its environment."""
    for name, value in {
        "AWS_ENDPOINT_URL": server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",  # else uploads come in pieces
    }.items():
        monkeypatch.setenv(name, value)
    urlopen(Request(f"{server}/moto-api/reset", method="POST")).read()
    boto3.client("s3").create_bucket(Bucket="shop")
    forget()
    yield server
    forget()


def forget() -> None:
    """Another process would not have this one's connections."""
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def keys() -> list[str]:
    listed = boto3.client("s3").list_objects_v2(Bucket="shop").get("Contents", [])
    return sorted(one["Key"] for one in listed)


class Torn(BaseHTTPRequestHandler):
    """In front of the endpoint: lets everything through but the upload of one file, which breaks off."""

    protocol_version = "HTTP/1.1"  # uploads wait for "100 Continue"
    endpoint = ""
    broken = "index.onnx"

    def log_message(self, *_: object) -> None:
        pass

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.command in ("PUT", "POST") and self.broken in self.path:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        headers = {name: value for name, value in self.headers.items() if name != "Expect"}
        request = Request(self.endpoint + self.path, body or None, headers, method=self.command)
        try:
            with urlopen(request) as answer:
                status, headers, content = answer.status, answer.headers, answer.read()
        except HTTPError as error:
            status, headers, content = error.code, error.headers, error.read()
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("transfer-encoding", "connection", "content-length", "server", "date"):
                self.send_header(name, value)
        is_head = self.command == "HEAD"
        self.send_header("Content-Length", headers.get("Content-Length", "0") if is_head else str(len(content)))
        self.end_headers()
        if not is_head:
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815 - http.server's names


@pytest.fixture
def torn(s3: str, monkeypatch: pytest.MonkeyPatch):
    Torn.endpoint = s3
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Torn)
    threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    forget()
    yield
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    forget()
    proxy.shutdown()
    proxy.server_close()


def test_a_release_is_published_activated_and_read_back(s3, tmp_path) -> None:
    one = release.publish(RELEASES, [parts.write(tmp_path / "parts")], parts.manifest())
    assert release.current(RELEASES) is None
    release.activate(RELEASES, one)
    forget()
    assert release.current(RELEASES) == one
    folder = release.open_release(RELEASES, one, tmp_path / "cache").folder
    assert json.loads((folder / "manifest.json").read_text())["id"] == one
    assert (folder / "index.onnx").read_bytes() == (tmp_path / "parts" / "index.onnx").read_bytes()


def test_roll_back_on_s3(s3, tmp_path) -> None:
    first, second = (
        release.publish(RELEASES, [parts.write(tmp_path / name, prefix=name)], parts.manifest()) for name in "ab"
    )
    release.activate(RELEASES, second)
    assert [one.id for one in release.list_releases(RELEASES)] == [second, first]
    assert release.rollback(RELEASES) == first == release.current(RELEASES)


def test_a_broken_upload_is_never_named_nor_activated(torn, s3, tmp_path, monkeypatch) -> None:
    made = parts.write(tmp_path / "parts")
    with pytest.raises(ReleaseError, match="could not be written"):
        release.publish(RELEASES, [made], parts.manifest())
    assert release.list_releases(RELEASES) == []
    assert not [key for key in keys() if key.endswith(("manifest.json", "current"))]


def test_a_broken_upload_leaves_what_serves(s3, tmp_path, request) -> None:
    old = release.publish(RELEASES, [parts.write(tmp_path / "old", prefix="o")], parts.manifest())
    release.activate(RELEASES, old)
    request.getfixturevalue("torn")
    with pytest.raises(ReleaseError):
        release.publish(RELEASES, [parts.write(tmp_path / "new", prefix="n")], parts.manifest())
    assert release.current(RELEASES) == old
    release.verify(RELEASES, old)


def test_an_object_that_was_changed_is_not_activated(s3, tmp_path) -> None:
    one = release.publish(RELEASES, [parts.write(tmp_path / "parts")], parts.manifest())
    boto3.client("s3").put_object(Bucket="shop", Key=f"releases/{one}/items.parquet", Body=b"torn")
    with pytest.raises(ReleaseError, match=r"items\.parquet differs from the file"):
        release.activate(RELEASES, one)
    assert release.current(RELEASES) is None


def put(key: str, content: bytes = b"planted") -> None:
    boto3.client("s3").put_object(Bucket="shop", Key=f"releases/{key}", Body=content)


def test_an_object_that_the_manifest_does_not_list_is_refused_by_name(s3, tmp_path) -> None:
    one = release.publish(RELEASES, [parts.write(tmp_path / "parts")], parts.manifest())
    for key in ("feature_store.yaml", "users.json", "../../../escaped", "sub/x", "large.bin"):
        put(f"{one}/{key}")
        with pytest.raises(ReleaseError, match=rf"release {one} holds the (file|folder) '{key.split('/')[0]}'"):
            release.activate(RELEASES, one)
        with pytest.raises(ReleaseError, match="holds only the files"):
            release.open_release(RELEASES, one, tmp_path / "deep" / "deeper" / "cache")
        boto3.client("s3").delete_object(Bucket="shop", Key=f"releases/{one}/{key}")
    assert not list(tmp_path.rglob("escaped")) and not list(tmp_path.rglob("large.bin"))
    put(f"{one}/", b"")  # a folder, as consoles mark it
    put(f"{one}/.DS_Store")  # what a tool leaves; never opened
    folder = release.open_release(RELEASES, one, tmp_path / "cache").folder
    assert {path.name for path in folder.iterdir()} == {*REQUIRED, "manifest.json"}


def test_a_file_larger_than_the_manifest_states_is_not_downloaded(s3, tmp_path) -> None:
    one = release.publish(RELEASES, [parts.write(tmp_path / "parts")], parts.manifest())
    size = (tmp_path / "parts" / "items.parquet").stat().st_size
    put(f"{one}/items.parquet", bytes(20_000_000))
    with pytest.raises(StorageError, match=rf"items\.parquet has 20000000 bytes, and at most {size}"):
        release.open_release(RELEASES, one, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_copy_in_the_cache_is_used_again_and_repaired(s3, tmp_path, monkeypatch) -> None:
    one = release.publish(RELEASES, [parts.write(tmp_path / "parts")], parts.manifest())
    folder = release.open_release(RELEASES, one, tmp_path / "cache").folder
    before = (folder / "items.parquet").stat()
    assert release.open_release(RELEASES, one, tmp_path / "cache").folder == folder
    assert (folder / "items.parquet").stat().st_ino == before.st_ino
    (folder / "users.json").write_text("[]")
    (folder / "items.parquet").write_bytes(b"torn")
    again = release.open_release(RELEASES, one, tmp_path / "cache")
    assert {path.name for path in again.folder.iterdir()} == {*REQUIRED, "manifest.json"}
    assert (again.folder / "items.parquet").stat().st_size == before.st_size
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [one]


@pytest.mark.slow
def test_a_publisher_that_is_killed_after_any_object_can_be_repeated(s3, tmp_path) -> None:
    made = parts.write(tmp_path / "parts")
    addresses = [f"s3://shop/killed-{n}" for n in range(len(REQUIRED) + 2)]
    script = [sys.executable, "-m", "tests.two_tower.releases.killed", made, *addresses]
    ended = subprocess.run(script, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert ended.strip() == "1", "all but the last, which writes all files, are killed"
    for n, address in enumerate(addresses):
        listed = release.list_releases(address)
        assert [bool(one.problem) for one in listed] == ([] if n == 0 else [n <= len(REQUIRED)])
        for half in (one for one in listed if one.problem):
            assert "manifest.json is missing" in half.problem
            with pytest.raises(ReleaseError, match="there is no release"):
                release.activate(address, half.id)
        one = release.publish(address, [made], parts.manifest())
        release.activate(address, one)
        assert [(r.id, r.current, r.problem) for r in release.list_releases(address)] == [(one, True, "")]


@pytest.mark.slow
def test_of_two_publishers_of_a_release_one_writes_the_manifest(s3, tmp_path, monkeypatch) -> None:
    """The second publisher completes the release after the first one has looked whether it exists."""
    made = parts.write(tmp_path / "parts")
    compared = [tmp_path / "a" / "choice.json", tmp_path / "b" / "choice.json"]
    for n, path in enumerate(compared):
        path.parent.mkdir()
        path.write_text(json.dumps({"seconds": n}))
    written = []

    async def put_file(self, lpath, rpath, **options):
        if not written:
            written.append(rpath)
            await asyncio.to_thread(subprocess.run, second, check=True, cwd=ROOT)
        return await original(self, lpath, rpath, **options)

    program = (
        "import sys; from pathlib import Path; from tests.two_tower import parts;"
        "from two_tower.releases import release;"
        "release.publish(sys.argv[1], [Path(one) for one in sys.argv[2:]], parts.manifest())"
    )
    second = [sys.executable, "-c", program, RELEASES, made, compared[1]]
    original = S3FileSystem._put_file
    monkeypatch.setattr(S3FileSystem, "_put_file", put_file)
    forget()  # a file system binds its methods when it is created
    one = release.publish(RELEASES, [made, compared[0]], parts.manifest())
    assert written and release.verify(RELEASES, one).ann_comparison == {"seconds": 1}
    assert "choice.json" not in " ".join(keys())


def test_an_activation_does_not_undo_one_that_came_in_the_meantime(s3, tmp_path, monkeypatch) -> None:
    first, second, third = (
        release.publish(RELEASES, [parts.write(tmp_path / name, prefix=name)], parts.manifest()) for name in "abc"
    )
    release.activate(RELEASES, first)

    async def pipe_file(self, path, data, **options):
        if options:  # the conditional write: another operator is faster
            boto3.client("s3").put_object(Bucket="shop", Key="releases/current", Body=third.encode())
        return await original(self, path, data, **options)

    original = S3FileSystem._pipe_file
    monkeypatch.setattr(S3FileSystem, "_pipe_file", pipe_file)
    forget()  # a file system binds its methods when it is created
    with pytest.raises(release.ActivationConflictError, match=rf"{second} was not activated: .* to {third}"):
        release.activate(RELEASES, second)
    assert release.current(RELEASES) == third
    release.activate(RELEASES, third)  # the same aim as the other operator's


def test_a_bucket_that_is_not_there(s3, tmp_path) -> None:
    with pytest.raises(InputError, match="s3://no-such-bucket"):
        release.publish("s3://no-such-bucket/releases", [parts.write(tmp_path / "parts")], parts.manifest())


def test_no_endpoint_and_no_keys_are_said(s3, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    forget()
    with pytest.raises(StorageError, match=r"s3://shop/releases cannot be reached.*AWS_ENDPOINT_URL"):
        release.current(RELEASES)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    forget()
    with pytest.raises(StorageError, match="credentials"):
        release.current(RELEASES)
