"""Releases of two-tower 0.1 verify, activate, roll back and refresh."""

import json

import pytest

from tests.two_tower import parts
from tests.two_tower.releases import format_1
from two_tower.releases.manifest import File, ReleaseError
from two_tower.releases.release import (
    Release,
    activate,
    current,
    list_releases,
    open_release,
    publish,
    rollback,
    verify,
)


@pytest.fixture
def old(tmp_path) -> str:
    return format_1.copy(tmp_path / "releases")


def test_it_verifies_and_opens(tmp_path, old) -> None:
    releases = tmp_path / "releases"
    assert current(releases) == old
    one = open_release(releases, old, tmp_path / "cache")
    assert (one.id, one.manifest.dataset, one.contract) == (old, "written by 0.1", parts.CONTRACT)
    assert one.users() == ["ann", "bob"] and one.profile("user")["rows"] == 8
    assert one.has(File.ANN_COMPARISON) and not one.has(File.FEATURE_STORE)
    assert [(r.id, r.current, r.problem) for r in list_releases(releases)] == [(old, True, "")]


def test_a_new_release_is_activated_beside_it_and_rolled_back(tmp_path, old) -> None:
    releases = tmp_path / "releases"
    new = publish(releases, [parts.write(tmp_path / "parts", prefix="n")], parts.manifest())
    activate(releases, new)
    assert [r.id for r in list_releases(releases)] == [new, old]
    assert rollback(releases) == old == current(releases)


def test_its_files_and_fields_are_published_again_in_the_current_format(tmp_path, old) -> None:
    before = Release.read(tmp_path / "releases" / old)
    new = publish(tmp_path / "releases", [before.folder], before.manifest)
    files = {name: sha256 for name, sha256 in before.manifest.files.items() if name != File.ANN_COMPARISON}
    again = verify(tmp_path / "releases", new)
    assert new != old and again.files == files
    assert again.ann_comparison == json.loads(before.path(File.ANN_COMPARISON).read_text())


def test_a_change_in_it_is_detected(tmp_path, old) -> None:
    path = tmp_path / "releases" / old / File.MANIFEST
    path.write_text(path.read_text().replace('"recall@20": 0.5', '"recall@20": 0.6'))
    with pytest.raises(ReleaseError, match=rf"release {old}: manifest\.json is torn or changed"):
        activate(tmp_path / "releases", old)
