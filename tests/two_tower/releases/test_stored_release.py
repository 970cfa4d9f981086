"""A release holds the files that its manifest lists, and nothing else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.two_tower import parts
from two_tower.releases.manifest import REQUIRED, File, ReleaseError, digest, id_of
from two_tower.releases.release import activate, list_releases, open_release, publish, served_reference, verify


@pytest.fixture
def one(tmp_path) -> str:
    made = parts.write(tmp_path / "parts")
    (made / File.REFERENCE).write_text('{"rows": 1}')
    return publish(tmp_path / "releases", [made], parts.manifest())


@pytest.mark.parametrize("name", [File.FEATURE_STORE, File.USERS, File.PROFILE, File.INDEX_DATA, "x.py", "Thumbs.db"])
def test_a_stray_file_is_refused_by_name(tmp_path, one, name) -> None:
    (tmp_path / "releases" / one / name).write_text("{}")
    with pytest.raises(ReleaseError, match=rf"release {one} holds the file '{name}'.*Remove the file"):
        verify(tmp_path / "releases", one)
    with pytest.raises(ReleaseError, match=name):
        activate(tmp_path / "releases", one)


def test_a_folder_and_links_are_refused_and_hidden_names_are_not(tmp_path, one) -> None:
    folder = tmp_path / "releases" / one
    (folder / ".DS_Store").write_text("")
    (folder / ".nfs0001").write_text("")
    verify(tmp_path / "releases", one)
    (folder / "sub").mkdir()
    with pytest.raises(ReleaseError, match="holds the folder 'sub'"):
        verify(tmp_path / "releases", one)
    (folder / "sub").rmdir()
    (folder / File.ITEMS).rename(tmp_path / "elsewhere.parquet")
    (folder / File.ITEMS).symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(ReleaseError, match=r"holds the link 'items\.parquet'"):
        verify(tmp_path / "releases", one)


@pytest.mark.parametrize("name", ["../../outside.txt", "/etc/hostname", "sub/../items.parquet", "notes.txt"])
def test_a_manifest_that_lists_another_name_is_refused(tmp_path, one, name) -> None:
    (tmp_path / "outside.txt").write_text("outside")
    folder = tmp_path / "releases" / one
    fields = json.loads((folder / File.MANIFEST).read_text())
    fields["files"][name] = "0" * 64
    fields |= {"id": id_of(fields), "sha256": digest(fields)}
    (folder / File.MANIFEST).write_text(json.dumps(fields))
    folder.rename(folder.parent / fields["id"])
    with pytest.raises(ReleaseError, match=rf"lists '{name}', which is not a file of a release"):
        open_release(tmp_path / "releases", fields["id"], tmp_path / "cache")


def test_the_reference_of_the_current_release_is_checked(tmp_path, one) -> None:
    releases = tmp_path / "releases"
    activate(releases, one)
    assert served_reference(releases, parts.CONTRACT) == {"rows": 1}
    (releases / one / File.REFERENCE).write_text('{"rows": 2}')
    with pytest.raises(ReleaseError, match=r"reference\.json differs from the file that was published"):
        served_reference(releases, parts.CONTRACT)


def test_a_folder_without_its_manifest_is_published_again(tmp_path, one) -> None:
    """As a copy of the releases that was interrupted leaves it."""
    folder = tmp_path / "releases" / one
    (folder / File.MANIFEST).unlink()
    (folder / File.ITEMS).write_bytes(b"torn")
    (folder / "stale").write_bytes(b"")
    assert "manifest.json is missing" in list_releases(tmp_path / "releases")[0].problem
    assert publish(tmp_path / "releases", [tmp_path / "parts"], parts.manifest()) == one
    verify(tmp_path / "releases", one)


def test_another_release_with_the_same_id_is_named(tmp_path, one) -> None:
    path = tmp_path / "releases" / one / File.MANIFEST
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"sha256": ""}))  # two hashes with the same 8 digits cannot be made quickly
    with pytest.raises(ReleaseError, match=rf"holds another release with the id {one}"):
        publish(tmp_path / "releases", [tmp_path / "parts"], parts.manifest())


def test_a_publisher_that_is_killed_after_any_file_can_be_repeated(tmp_path) -> None:
    made = parts.write(tmp_path / "parts")
    addresses = [tmp_path / f"killed-{n}" for n in range(len(REQUIRED) + 4)]  # manifest, two syncs
    script = [sys.executable, "-m", "tests.two_tower.releases.killed", made, *addresses]
    ended = subprocess.run(script, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3]).stdout
    assert ended.strip() == "1"
    for n, releases in enumerate(addresses):
        assert [r.problem for r in list_releases(releases)] == [""] * (n > len(REQUIRED) + 1)
        again = publish(releases, [made], parts.manifest())
        activate(releases, again)
        assert [(r.id, r.current, r.problem) for r in list_releases(releases)] == [(again, True, "")]
