from tests.pipelines.cli.running import two_tower
from tests.two_tower import parts
from two_tower.releases import release


def test_a_release_without_a_profile_is_refused_by_name(tmp_path) -> None:
    releases = tmp_path / "releases"
    one = release.publish(releases, [parts.write(tmp_path / "parts")], parts.manifest())
    release.activate(releases, one)
    (tmp_path / "log").mkdir()
    done = two_tower("drift", "--releases", str(releases), "--feature-log", str(tmp_path / "log"))
    assert done.exit_code == 2
    assert f"release {one} has no profile.json" in " ".join(done.stderr.split())
