import json
import os
import shutil
import subprocess
import sys
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import onnx
import pytest

from tests.two_tower import parts
from two_tower.errors import InputError
from two_tower.releases import release
from two_tower.releases.manifest import ONNX_FILES, REQUIRED, File, ReleaseError, digest, id_of
from two_tower.releases.release import (
    ActivationConflictError,
    Release,
    activate,
    current,
    list_releases,
    open_release,
    publish,
    resolve,
    rollback,
    verify,
)
from two_tower.storage import TEMPORARY


@pytest.fixture(params=["local", "memory"])
def releases(request, tmp_path):
    """A folder on the disk, and one of an object store, where nothing is renamed."""
    return str(tmp_path / "releases") if request.param == "local" else f"memory://{uuid.uuid4()}/releases"


@pytest.fixture
def made(tmp_path):
    return parts.write(tmp_path / "parts")


def several(releases, tmp_path, count):
    """Releases, oldest first."""
    ids = []
    for n in range(count):
        ids.append(publish(releases, [parts.write(tmp_path / f"parts{n}", prefix=f"r{n}-")], parts.manifest()))
        time.sleep(0.002)  # `created` counts milliseconds
    return ids


def test_published_release_is_whole_listed_and_not_yet_current(releases, made, tmp_path):
    one = publish(releases, [made], parts.manifest())
    assert one.startswith("20240301T120000-")
    assert [(r.id, r.current, r.problem) for r in list_releases(releases)] == [(one, False, "")]
    assert current(releases) is None
    manifest = verify(releases, one)
    assert set(manifest.files) == set(REQUIRED)
    copy = open_release(releases, one, tmp_path / "cache").folder
    assert sorted(p.name for p in copy.iterdir()) == sorted([*manifest.files, "manifest.json"])


def test_publishing_the_same_again_changes_nothing(releases, made):
    one = publish(releases, [made], parts.manifest())
    created = list_releases(releases)[0].manifest.created
    assert publish(releases, [made], parts.manifest()) == one
    assert [r.manifest.created for r in list_releases(releases)] == [created]
    assert publish(releases, [made], parts.manifest(dataset="another")) != one


# Objects of a store are replaced whole; those of memory:// are empty for a moment, which a reader may meet.
@pytest.mark.parametrize("releases", ["local"], indirect=True)
def test_concurrent_publishers_of_the_same_release_agree(releases, made):
    with ThreadPoolExecutor(8) as pool:
        ids = {f.result() for f in [pool.submit(publish, releases, [made], parts.manifest()) for _ in range(8)]}
    assert len(ids) == 1 and [r.id for r in list_releases(releases)] == list(ids)


def test_rollback_walks_back_through_the_releases(releases, tmp_path):
    first, second, third = several(releases, tmp_path, 3)
    activate(releases, third)
    assert rollback(releases) == second == current(releases)
    assert rollback(releases) == first == current(releases)
    with pytest.raises(ReleaseError, match="oldest"):
        rollback(releases)
    assert current(releases) == first
    activate(releases, third)
    assert [(r.id, r.current) for r in list_releases(releases)] == [(third, True), (second, False), (first, False)]


def test_rollback_without_a_current_release(releases, made):
    publish(releases, [made], parts.manifest())
    with pytest.raises(ReleaseError, match="nothing to roll back"):
        rollback(releases)


@pytest.mark.parametrize("name", [*REQUIRED, "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flipped", "absent"])
def test_torn_release_is_refused_by_name_and_the_pointer_stays(tmp_path, name, harm):
    releases = tmp_path / "releases"
    good, bad = several(releases, tmp_path, 2)
    activate(releases, good)
    file = releases / bad / name
    content = bytearray(file.read_bytes())
    if harm == "absent":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 1
        file.write_bytes(content)
    with pytest.raises(ReleaseError, match=bad) as refused:
        activate(releases, bad)
    assert name in str(refused.value) or harm == "absent"
    assert current(releases) == good
    assert (bad in [r.id for r in list_releases(releases) if r.problem]) == (
        name == "manifest.json"
    )  # a listing reads the manifests only


@pytest.mark.parametrize("file", ONNX_FILES)
def test_mixed_embedding_spaces_are_not_published(tmp_path, made, file):
    other = parts.write(tmp_path / "other", space="space-2")
    (other / file).replace(made / file)
    with pytest.raises(ReleaseError, match=rf"{file} has the embedding space 'space-2'"):
        publish(tmp_path / "releases", [made], parts.manifest())
    assert list_releases(tmp_path / "releases") == []


def test_tower_of_another_contract_is_not_published(tmp_path, made):
    model = onnx.load(made / "user_tower.onnx")
    onnx.helper.set_model_props(model, {"embedding_space": "space-1", "contract": '{"user_key": "other"}'})
    onnx.save(model, made / "user_tower.onnx")
    with pytest.raises(ReleaseError, match=r"user_tower\.onnx was made for another contract"):
        publish(tmp_path / "releases", [made], parts.manifest())


def test_missing_and_doubled_parts_are_named(tmp_path, made):
    with pytest.raises(ReleaseError, match=r"one items\.parquet"):
        publish(tmp_path, [made, made / "items.parquet"], parts.manifest())
    (made / "index.onnx").unlink()
    with pytest.raises(ReleaseError, match=r"index\.onnx is not among its parts"):
        publish(tmp_path, [made], parts.manifest())


def test_a_release_is_read_from_its_folder(tmp_path, made):
    (made / File.PROFILE).write_text(json.dumps({"user": {"rows": 3}}))
    (made / File.USERS).write_text('["ann", "bob"]')
    one = Release.read(tmp_path / publish(tmp_path, [made], parts.manifest()))
    assert one.id == one.folder.name and one.contract == parts.CONTRACT
    assert one.path(File.ITEMS) == one.folder / "items.parquet"
    assert (one.has(File.USERS), one.has(File.REFERENCE)) == (True, False)
    assert (one.profile("user"), one.profile("item"), one.users()) == ({"rows": 3}, None, ["ann", "bob"])
    with pytest.raises(ReleaseError, match=r"parts is not a release: manifest\.json is missing"):
        Release.read(made)


def test_a_profile_and_users_are_optional(releases, made, tmp_path):
    one = open_release(releases, publish(releases, [made], parts.manifest()), tmp_path / "cache")
    assert (one.profile("user"), one.users()) == (None, [])


def test_the_current_release_is_the_default(releases, tmp_path):
    first, second = several(releases, tmp_path, 2)
    with pytest.raises(ReleaseError, match=r"no release of .* is active"):
        resolve(releases)
    activate(releases, second)
    assert resolve(releases) == resolve(releases, "") == second
    assert resolve(releases, first) == first


@pytest.mark.parametrize("name", ["", "..", "../elsewhere", "20240301T120000-00000000", "x" * 5000])
def test_unknown_release_is_refused(releases, name):
    with pytest.raises(ReleaseError, match=r"no release|not a release id"):
        activate(releases, name)


@pytest.mark.parametrize("pointer", [b"", b"\xff\xfe", b"../../etc\n", b"20240301T12"])
def test_torn_pointer_is_refused_and_hides_no_release(tmp_path, made, pointer):
    one = publish(tmp_path, [made], parts.manifest())
    (tmp_path / "current").write_bytes(pointer)
    with pytest.raises(ReleaseError, match="not a release id"):
        current(tmp_path)
    assert [r.id for r in list_releases(tmp_path)] == [one]
    activate(tmp_path, one)
    assert current(tmp_path) == one


def test_pointer_is_whole_at_every_moment_of_concurrent_activations(releases, tmp_path):
    ids = several(releases, tmp_path, 3)
    activate(releases, ids[0])
    stop = threading.Event()

    def read():
        reads = 0
        while not stop.is_set():
            assert current(releases) in ids
            reads += 1
        return reads

    def move(one):
        moves = 0
        for _ in range(20):
            with suppress(ActivationConflictError):
                activate(releases, one)
                moves += 1
        return moves

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        writers = [pool.submit(move, one) for one in ids]
        moved = [writer.result() for writer in writers]
        stop.set()
        assert sum(moved) > 20, "of those who move it at once, one succeeds"
        assert all(r.result() > 20 for r in readers)
    assert not list(Path(releases).glob(f"{TEMPORARY}*"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_full_disk_leaves_the_old_release_serving_and_no_trace(small_disk, tmp_path, made):
    releases = small_disk / "releases"
    one = publish(releases, [made], parts.manifest())
    activate(releases, one)
    large = parts.write(tmp_path / "large", prefix="large")
    (large / "profile.json").write_bytes(os.urandom(300_000))
    with pytest.raises(ReleaseError, match=r"No space left on device.*It is not published"):
        publish(releases, [large], parts.manifest())
    assert sorted(p.name for p in releases.iterdir()) == sorted([one, "current"])
    assert current(releases) == one
    verify(releases, one)


def test_pointer_survives_a_disk_that_is_full_to_the_last_byte(small_disk, tmp_path):
    first, second = several(small_disk, tmp_path, 2)
    activate(small_disk, first)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filler").write_bytes(bytes(300_000))
    with pytest.raises(ReleaseError, match="pointer is unchanged"):
        activate(small_disk, second)
    assert current(small_disk) == first


def test_file_size_limit_leaves_no_trace(tmp_path, made):
    """As a full disk, for those who cannot mount one: the process may write no file above 64 KiB."""
    (made / "profile.json").write_bytes(os.urandom(100_000))
    (tmp_path / "manifest.json").write_text(parts.manifest().to_json())
    script = (
        "import json, pathlib, resource, sys; from two_tower.releases.release import publish;"
        "from two_tower.releases.manifest import Manifest;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536));"
        "fields = json.loads(pathlib.Path(sys.argv[3]).read_text());"
        "publish(sys.argv[1], [pathlib.Path(sys.argv[2])], Manifest(**fields))"
    )
    command = [sys.executable, "-c", script, tmp_path / "releases", made, tmp_path / "manifest.json"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(release.__file__).parents[2])
    assert "ReleaseError" in ran.stderr and "File too large" in ran.stderr
    assert list((tmp_path / "releases").iterdir()) == []


def test_places_that_cannot_hold_releases(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        list_releases(tmp_path / "file")
    with pytest.raises(InputError, match="nowhere"):
        list_releases("nowhere://bucket/releases")
    assert list_releases(tmp_path / "absent") == []


def test_release_moved_under_another_name_is_refused(tmp_path, made):
    one = publish(tmp_path, [made], parts.manifest())
    other = one[:-8] + "00000000"
    shutil.move(tmp_path / one, tmp_path / other)
    with pytest.raises(ReleaseError, match=other):
        activate(tmp_path, other)


def test_a_release_with_fields_of_another_version_is_whole_and_cannot_be_changed(tmp_path, made):
    """Written by a later version, which records one thing more."""
    one = publish(tmp_path / "releases", [made], parts.manifest())
    path = tmp_path / "releases" / one / "manifest.json"
    later = {**json.loads(path.read_text()), "licence": "CC0"}
    name = id_of(later)
    path.parent.rename(tmp_path / "releases" / name)
    path = tmp_path / "releases" / name / "manifest.json"
    later |= {"id": name, "sha256": digest(later)}
    path.write_text(json.dumps(later))
    assert verify(tmp_path / "releases", name).model_extra["licence"] == "CC0"
    path.write_text(json.dumps({**later, "licence": "none"}))
    with pytest.raises(ReleaseError, match="torn or changed"):
        verify(tmp_path / "releases", name)
