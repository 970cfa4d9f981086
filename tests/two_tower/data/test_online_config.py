import pytest
import yaml

from two_tower.data.online_config import online_config
from two_tower.errors import InputError


def config(repo, text):
    (repo / "feature_store.yaml").write_text(text)
    return yaml.safe_load(online_config(repo))


def test_paths_are_absolute_and_what_only_training_reads_is_gone(tmp_path):
    read = config(
        tmp_path,
        "project: p\nprovider: local\nregistry: data/registry.db\noffline_store: {type: duckdb}\n"
        "online_store: {type: sqlite, path: data/online.db}\nentity_key_serialization_version: 3\n",
    )
    assert read == {
        "project": "p",
        "provider": "local",
        "registry": {"cache_ttl_seconds": 0, "path": str(tmp_path / "data/registry.db")},
        "online_store": {"type": "sqlite", "path": str(tmp_path / "data/online.db")},
        "entity_key_serialization_version": 3,
    }
    assert config(tmp_path, yaml.safe_dump(read)) == read


def test_urls_secrets_and_a_chosen_refresh_stay_as_they_are(tmp_path):
    config_in = {
        "registry": {"registry_type": "sql", "path": "postgresql://host/db", "cache_ttl_seconds": 60},
        "online_store": {"type": "redis", "connection_string": "${REDIS}", "path": "$PLACE/online.db"},
    }
    assert config(tmp_path, yaml.safe_dump(config_in)) == config_in


def test_a_store_inside_the_releases_folder_is_found_from_a_release_after_the_folder_has_moved(tmp_path):
    repo, release = tmp_path / "before" / "feature_repo", tmp_path / "before" / "20240101T000000-00000000"
    repo.mkdir(parents=True)
    release.mkdir()
    (repo / "feature_store.yaml").write_text("project: p\nregistry: data/registry.db\n")
    (release / "feature_store.yaml").write_text(online_config(repo, tmp_path / "before"))
    (tmp_path / "before").rename(tmp_path / "after")
    read = yaml.safe_load(online_config(tmp_path / "after" / release.name))
    assert read["registry"]["path"] == str(tmp_path / "after" / "feature_repo" / "data" / "registry.db")


@pytest.mark.parametrize(("text", "says"), [("[]", "not a mapping"), ("a: b: c", "not YAML")])
def test_file_that_is_no_configuration_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        config(tmp_path, text)
    with pytest.raises(InputError, match=r"feature_store\.yaml does not exist"):
        online_config(tmp_path / "elsewhere")
