import subprocess
from pathlib import Path

import pytest

from tests.two_tower import parts
from two_tower.errors import InputError
from two_tower.releases.manifest import File, ReleaseError
from two_tower.releases.release import activate, open_release, publish, verify
from two_tower.releases.signature import LENGTH, SIGNING_KEY, VERIFY_KEY


def openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def pair(folder: Path, name: str, algorithm: str = "ed25519") -> tuple[Path, Path]:
    """A private and a public key, as an operator makes them."""
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    openssl("genpkey", "-algorithm", algorithm, "-out", private)
    openssl("pkey", "-in", private, "-pubout", "-out", public)
    return private, public


@pytest.fixture(scope="module")
def keys(tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("keys")
    return {name: pair(folder, name) for name in ("ours", "theirs")} | {"x25519": pair(folder, "x", "x25519")}


@pytest.fixture(params=["local", "memory"])
def releases(request, tmp_path) -> str:
    return str(tmp_path / "releases") if request.param == "local" else f"memory://{tmp_path.name}/releases"


def test_a_signed_release_is_opened_and_others_are_refused(keys, releases, tmp_path, monkeypatch) -> None:
    made = parts.write(tmp_path / "parts")
    one = publish(releases, [made], parts.manifest())
    monkeypatch.setenv(VERIFY_KEY, str(keys["ours"][1]))
    with pytest.raises(ReleaseError, match=rf"release {one} is not signed: manifest\.json\.sig is missing"):
        activate(releases, one)
    monkeypatch.setenv(SIGNING_KEY, str(keys["theirs"][0]))
    with pytest.raises(ReleaseError, match=r"is not a signature of manifest\.json by a key of"):
        publish(releases, [made], parts.manifest())
    monkeypatch.setenv(SIGNING_KEY, str(keys["ours"][0]))
    assert publish(releases, [made], parts.manifest()) == one, "a release that exists is signed"
    activate(releases, one)
    folder = open_release(releases, one, tmp_path / "cache").folder
    assert (folder / File.SIGNATURE).stat().st_size == LENGTH
    assert open_release(releases, one, tmp_path / "cache").folder == folder


def test_a_new_release_is_signed_when_it_appears(keys, releases, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(SIGNING_KEY, str(keys["ours"][0]))
    one = publish(releases, [parts.write(tmp_path / "parts")], parts.manifest())
    monkeypatch.delenv(SIGNING_KEY)
    verify(releases, one)
    monkeypatch.setenv(VERIFY_KEY, str(keys["ours"][1]))
    verify(releases, one)


def test_a_change_of_fields_that_the_id_does_not_cover_is_detected(keys, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv(SIGNING_KEY, str(keys["ours"][0]))
    monkeypatch.setenv(VERIFY_KEY, str(keys["ours"][1]))
    one = publish(tmp_path / "releases", [parts.write(tmp_path / "parts")], parts.manifest())
    path = tmp_path / "releases" / one / File.MANIFEST
    path.write_text(path.read_text().replace('"created": "2', '"created": "3'))
    with pytest.raises(ReleaseError, match="is not a signature"):
        verify(tmp_path / "releases", one)
    monkeypatch.delenv(VERIFY_KEY)
    verify(tmp_path / "releases", one)


def test_openssl_signs_a_release_and_one_of_several_keys_is_enough(keys, tmp_path, monkeypatch) -> None:
    one = publish(tmp_path, [parts.write(tmp_path / "parts")], parts.manifest())
    manifest = tmp_path / one / File.MANIFEST
    openssl("pkeyutl", "-sign", "-rawin", "-inkey", keys["ours"][0], "-in", manifest, "-out", f"{manifest}.sig")
    both = tmp_path / "both.pub"
    both.write_text(keys["theirs"][1].read_text() + keys["ours"][1].read_text())
    monkeypatch.setenv(VERIFY_KEY, str(both))
    verify(tmp_path, one)
    (tmp_path / one / File.SIGNATURE).write_bytes(b"short")
    with pytest.raises(ReleaseError, match="is not a signature"):
        verify(tmp_path, one)


@pytest.mark.parametrize(
    ("variable", "content", "message"),
    [
        (VERIFY_KEY, "nothing", r"is not an Ed25519 public key .*it has no block PUBLIC KEY"),
        (VERIFY_KEY, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", r"is not an Ed25519 public key"),
        (VERIFY_KEY, "x25519", r"is not an Ed25519 public key .*another algorithm"),
        (VERIFY_KEY, None, r"cannot be read: .*Correct the path or unset it"),
        (SIGNING_KEY, "nothing", r"is not an Ed25519 private key .*openssl genpkey"),
        (SIGNING_KEY, "x25519", r"is not an Ed25519 private key .*another algorithm"),
        (SIGNING_KEY, None, r"cannot be read"),
    ],
)
def test_a_file_that_is_no_key_is_named(keys, tmp_path, monkeypatch, variable, content, message) -> None:
    path = tmp_path / "key"
    if content == "x25519":
        path = keys["x25519"][variable == VERIFY_KEY]
    elif content:
        path.write_text(content)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(InputError, match=rf"(?s){variable}={path} {message}"):
        verify(tmp_path, publish(tmp_path, [parts.write(tmp_path / "parts")], parts.manifest()))
