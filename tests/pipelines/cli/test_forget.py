import json

from tests.pipelines.cli.running import two_tower
from tests.two_tower import parts, shop
from two_tower.data import features
from two_tower.releases.release import publish


def test_forget_says_what_it_did_and_what_remains(tmp_path):
    repo = shop.write(tmp_path / "repo")
    features.materialize(repo, shop.at(shop.EVENTS - 1))
    folders = [parts.write(tmp_path / name, prefix=name) for name in ("a", "b")]
    (folders[0] / "users.json").write_text(json.dumps([4, 5]))
    (folders[1] / "users.json").write_text(json.dumps([4]))
    listing, _ = (publish(str(tmp_path / "releases"), [folder], parts.manifest()) for folder in folders)
    arguments = ["forget", "--user", "5", "--feature-repo", repo, "--releases", tmp_path / "releases"]
    document = json.loads(two_tower(*map(str, arguments), "--json").stdout)
    assert document["views"] and all(document["views"].values())
    assert document["releases"] == [listing] and len(document["remains"]) == 3
    text = two_tower(*map(str, arguments)).stdout
    assert "held nothing" in text and listing in text and "not changed: the feature log" in text


def test_a_folder_without_a_feature_store_is_refused(tmp_path):
    done = two_tower("forget", "--user", "5", "--feature-repo", str(tmp_path))
    assert done.exit_code == 2 and "no feature_store.yaml" in done.stderr
