from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.two_tower import shop
from tests.two_tower.s3 import BUCKET, client, running_s3
from two_tower.data.fetch import fetch
from two_tower.data.fingerprint import address_fingerprint
from two_tower.errors import InputError


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with running_s3(monkeypatch) as endpoint:
        yield endpoint


def upload(repo: Path, prefix: str, bucket: str = BUCKET) -> None:
    for path in repo.rglob("*"):
        if path.is_file():
            key = "/".join(filter(None, [prefix, str(path.relative_to(repo))]))
            client().upload_file(str(path), bucket, key)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "address", ["s3://shop/team/repo", "s3://shop/team/repo/", "minio://shop/team/repo", "s3://shop"]
)
def test_a_repository_in_a_bucket_is_copied_whole(s3: str, tmp_path: Path, address: str) -> None:
    repo = shop.write(tmp_path / "repo")
    upload(repo, address.partition("://shop")[2].strip("/"))
    fetch(address, tmp_path / "copy")
    assert names(tmp_path / "copy") == names(repo)
    assert (tmp_path / "copy/data/orders.parquet").read_bytes() == (repo / "data/orders.parquet").read_bytes()


@pytest.mark.parametrize("protocol", ["", "file://"])
def test_a_repository_on_a_volume_is_copied_whole(tmp_path: Path, protocol: str) -> None:
    repo = shop.write(tmp_path / "repo")
    (repo / "__pycache__").mkdir()
    (repo / "__pycache__" / "definitions.pyc").touch()
    fetch(f"{protocol}{repo}", tmp_path / "copy")
    assert names(tmp_path / "copy") == names(repo) - {"__pycache__/definitions.pyc"}


def test_the_markers_of_empty_folders_are_left_out(s3: str, tmp_path: Path) -> None:
    upload(shop.write(tmp_path / "repo"), "repo")
    for marker in ("repo/", "repo/data/", "repo/empty/"):
        client().put_object(Bucket=BUCKET, Key=marker, Body=b"")
    fetch("s3://shop/repo", tmp_path / "copy")
    assert names(tmp_path / "copy") == names(tmp_path / "repo")


def test_an_object_cannot_be_written_outside_the_folder(s3: str, tmp_path: Path) -> None:
    upload(shop.write(tmp_path / "repo"), "repo")
    client().put_object(Bucket=BUCKET, Key="repo/data/../../../outside.py", Body=b"")
    with pytest.raises(InputError, match=r"'data/\.\./\.\./\.\./outside\.py', which is not below it"):
        fetch("s3://shop/repo", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://shop/nothing", "s3://shop/nothing does not exist, or is empty"),
        ("s3://shop/other", "s3://shop/other is not a Feast feature repository: feature_store.yaml is missing"),
        ("ftp2://shop/other", "ftp2://shop/other cannot be opened: Protocol not known"),
        ("/nowhere/repo", "/nowhere/repo is not a folder that this step can read"),
    ],
)
def test_a_wrong_address_is_explained(s3: str, tmp_path: Path, address: str, message: str) -> None:
    client().put_object(Bucket=BUCKET, Key="other/readme.txt", Body=b"")
    with pytest.raises(InputError) as caught:
        fetch(address, tmp_path / "copy")
    assert message in str(caught.value)


def test_a_bucket_that_is_missing_is_named(s3: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="s3://elsewhere/repo does not exist: The specified bucket does not exist"):
        fetch("s3://elsewhere/repo", tmp_path / "copy")


def test_the_fingerprint_of_a_repository_in_a_bucket_follows_its_content(s3: str, tmp_path: Path) -> None:
    repo = shop.write(tmp_path / "repo")
    upload(repo, "repo")
    first = address_fingerprint("s3://shop/repo")
    upload(repo, "repo")
    assert address_fingerprint("s3://shop/repo") == first, "the same content, written again"
    upload(repo, "copy")
    assert address_fingerprint("s3://shop/copy") == first
    with (repo / "data/orders.parquet").open("ab") as file:
        file.write(b"one more byte")
    upload(repo, "repo")
    assert address_fingerprint("s3://shop/repo") != first


def test_the_fingerprint_follows_tables_in_another_bucket(s3: str, tmp_path: Path) -> None:
    client().create_bucket(Bucket="tables", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    repo = shop.write(tmp_path / "repo", shop.DEFINITIONS.replace("data/{name}", "s3://tables/{name}"))
    upload(repo / "data", "", "tables")
    first = address_fingerprint(str(repo))
    assert address_fingerprint(str(repo)) == first
    client().put_object(Bucket="tables", Key="orders.parquet", Body=b"new rows")
    assert address_fingerprint(str(repo)) != first
