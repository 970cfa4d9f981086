"""Registration at a stand-in Model Registry, over HTTP."""

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.two_tower import parts
from tests.two_tower.cluster import Handler, listening
from two_tower.errors import InputError
from two_tower.releases import model_registry

MANIFEST = parts.manifest(id="20240301T120000-00000000")


@pytest.fixture
def registry():
    made: list[dict] = []

    class Registry(Handler):
        def do_GET(self) -> None:  # noqa: N802
            url = urlsplit(self.path)
            kind, asked = url.path.rpartition("/")[2], {k: v[0] for k, v in parse_qs(url.query).items()}
            for one in made:
                if one["kind"] == kind and one["name"] == asked["name"]:
                    return self.answer(200, one)
            return self.answer(404, {"message": "not found"})

        def do_POST(self) -> None:  # noqa: N802
            last = self.path.rpartition("/")[2]
            kind = {"registered_models": "registered_model", "model_versions": "model_version"}.get(
                last, "model_artifact"
            )
            made.append({**self.body(), "kind": kind, "id": str(len(made) + 1), "path": self.path})
            self.answer(201, made[-1])

    with listening(Registry) as address:
        yield address, made


def test_a_release_becomes_a_version_with_its_files_and_metrics(registry) -> None:
    address, made = registry
    model_registry.register(address, "two-tower", "s3://shop/releases/1", MANIFEST)
    model, version, artifact = made
    assert (model["name"], version["registeredModelId"]) == ("two-tower", "1")
    assert version["name"] == MANIFEST.id
    assert version["customProperties"]["two_tower_recall@20"]["double_value"] == 0.5
    assert artifact["path"].endswith("/api/model_registry/v1alpha3/model_versions/2/artifacts")
    assert artifact["uri"] == "s3://shop/releases/1"


def test_registering_again_changes_nothing(registry) -> None:
    address, made = registry
    for _ in range(2):
        model_registry.register(address, "two-tower", "s3://shop/releases/1", MANIFEST)
    assert len(made) == 3


def test_no_registry_at_the_address() -> None:
    with pytest.raises(InputError, match=r"no answer from http://127\.0\.0\.1:1.*The release serves"):
        model_registry.register("http://127.0.0.1:1", "two-tower", "s3://x", MANIFEST)
