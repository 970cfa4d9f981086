import json
from importlib.metadata import version
from pathlib import Path

import pytest

from two_tower.data.pulled import Pulled
from two_tower.releases.item_index import build_index
from two_tower.releases.manifest import REQUIRED, File, ReleaseError
from two_tower.releases.publish import publish
from two_tower.releases.release import Release, current, list_releases

SUMMARY = {
    "metrics": {"two_tower": {"recall@20": 0.25}, "popularity": {"recall@20": 0.125}},
    "slices": {"new users": {}},
    "gates": {"data": {"passed": True, "reasons": []}},
    "settings": {"dim": 16},
}


@pytest.fixture(scope="module")
def outputs(world: Pulled, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The outputs of the steps that a release is published from."""
    folder = tmp_path_factory.mktemp("steps")
    world.write(folder / "pulled")
    build_index(exported, world, folder / "index")
    (folder / "repo").mkdir()
    store = "project: shop\nregistry: registry.db\nprovider: local\noffline_store:\n  type: duckdb\n"
    (folder / "repo" / "feature_store.yaml").write_text(store)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    names = {"repo": "repo", "pulled": "pulled", "index": "index", "summary": "summary.json"}
    return {"towers": exported} | {name: folder / path for name, path in names.items()}


def test_a_release_holds_the_outputs_of_the_steps(outputs, world, tmp_path) -> None:
    releases = tmp_path / "releases"
    one = Release.read(releases / publish(**outputs, dataset="shop", releases=str(releases)))
    manifest = one.manifest
    assert (manifest.dataset, manifest.contract, manifest.embedding_space) == ("shop", world.contract, "space-1")
    assert (manifest.as_of, manifest.train_end) == (world.bounds.as_of, world.bounds.train_end)
    assert (manifest.metrics, manifest.gates, manifest.settings) == (
        SUMMARY["metrics"],
        SUMMARY["gates"],
        SUMMARY["settings"],
    )
    assert manifest.versions["torch"] == version("torch")
    optional = {File.PROFILE, File.USERS, File.REFERENCE, File.FEATURE_STORE}
    assert set(manifest.files) == set(manifest.sizes) == {*REQUIRED, *optional}
    assert {path.name for path in one.folder.iterdir()} == {*manifest.files, File.MANIFEST}
    assert manifest.ann_comparison == json.loads((outputs["index"] / File.ANN_COMPARISON).read_text())
    store = one.path(File.FEATURE_STORE).read_text()
    assert f"{outputs['repo']}/registry.db" in store and "duckdb" not in store
    assert one.profile("user") is not None and one.profile("item") is not None
    assert current(releases) is None


def test_towers_and_index_of_two_trainings_are_not_published(outputs, tmp_path) -> None:
    index = tmp_path / "index"
    index.mkdir()
    for path in outputs["index"].iterdir():
        content = path.read_bytes()
        (index / path.name).write_bytes(content.replace(b"space-1", b"space-2") if path.suffix == ".onnx" else content)
    with pytest.raises(ReleaseError, match=r"index\.onnx has the embedding space 'space-2'"):
        publish(**{**outputs, "index": index}, dataset="shop", releases=str(tmp_path / "releases"))
    assert list_releases(tmp_path / "releases") == []
