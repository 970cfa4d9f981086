import socket
import time
from collections.abc import Iterator

import pytest

from tests.two_tower.s3 import BUCKET, client, forget_connections, running_s3
from two_tower import object_stores
from two_tower.errors import InputError, StorageError
from two_tower.object_stores import client_errors, file_system, is_remote, versions
from two_tower.storage import open_storage


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_s3(monkeypatch) as endpoint:
        yield endpoint


@pytest.mark.parametrize(
    ("address", "remote"),
    [("s3://b/p", True), ("minio://b/p", True), ("gs://b", True), ("/data", False), ("file:///data", False)],
)
def test_a_path_of_this_machine_is_not_remote(address: str, remote: bool) -> None:
    assert is_remote(address) is remote


def test_minio_is_an_s3_store_at_the_endpoint(s3: str) -> None:
    open_storage(f"minio://{BUCKET}/releases").write_folder("one", {"file": b"content"})
    assert open_storage(f"s3://{BUCKET}/releases").read("one/file") == b"content"


def test_minio_without_an_endpoint_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"minio://b/p needs the address of the store\. Set AWS_ENDPOINT_URL"):
        open_storage("minio://b/p")


@pytest.mark.parametrize(
    ("addressing", "url"), [("", "/shop/key"), ("path", "/shop/key"), ("virtual", "http://shop.localhost")]
)
def test_the_bucket_is_in_the_path_unless_the_host_name_is_to_have_it(
    s3: str, monkeypatch: pytest.MonkeyPatch, addressing: str, url: str
) -> None:
    monkeypatch.setenv("TWO_TOWER_S3_ADDRESSING", addressing)
    fs, path = file_system("s3://shop/key")
    assert url in fs.url(path)


def test_the_region_is_that_of_either_variable(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def region() -> str:
        forget_connections()
        fs, path = file_system("s3://shop/key")
        fs.exists(path)
        return str(fs.s3.meta.region_name)

    assert region() == "eu-west-1", "AWS_REGION, which botocore does not read"
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    assert region() == "us-west-2"


def test_a_store_that_accepts_and_never_answers_fails_a_call_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setattr(object_stores, "S3_READ_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        forget_connections()
        began = time.monotonic()
        with pytest.raises(StorageError, match="Read timeout"):
            open_storage("s3://shop/releases").read("current")
        assert time.monotonic() - began < 30
    forget_connections()


def test_the_versions_change_with_the_content_alone(s3: str) -> None:
    put = client().put_object
    put(Bucket=BUCKET, Key="table/part.parquet", Body=b"first")
    put(Bucket=BUCKET, Key="table-of-another/part.parquet", Body=b"other")
    first = versions("s3://shop/table")
    assert list(first) == ["shop/table/part.parquet"]
    put(Bucket=BUCKET, Key="table/part.parquet", Body=b"first")
    assert versions("s3://shop/table") == first
    put(Bucket=BUCKET, Key="table/part.parquet", Body=b"secnd")
    assert versions("s3://shop/table") != first
    assert versions("s3://shop/nothing") == {}


def test_a_store_that_is_away_is_named(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_connections()
    fs, path = file_system("s3://shop/key")
    with pytest.raises(StorageError, match="s3://shop/key cannot be reached"), client_errors(fs, path):
        fs.cat_file(path)
