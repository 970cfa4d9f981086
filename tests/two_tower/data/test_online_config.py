import pytest
import yaml

from two_tower.data.online_config import expanded, online_config
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


@pytest.mark.parametrize(
    ("section", "text", "path"),
    [
        ("online_store", "", "{repo}/data/online.db"),
        ("online_store", "online_store: sqlite", "{repo}/data/online.db"),
        ("online_store", "online_store: {type: sqlite}", "{repo}/data/online.db"),
        ("online_store", "online_store: {path: '${RELATIVE}'}", "{repo}/data/of_variable.db"),
        ("online_store", "online_store: {path: '$RELATIVE'}", "{repo}/data/of_variable.db"),
        ("online_store", "online_store: {path: '${ABSOLUTE}/online.db'}", "${ABSOLUTE}/online.db"),
        ("online_store", "online_store: {type: remote, path: 'http://host:6566'}", "http://host:6566"),
        ("registry", "registry: ${RELATIVE}", "{repo}/data/of_variable.db"),
        ("registry", "registry: {path: '${ABSOLUTE}'}", "${ABSOLUTE}"),
        ("registry", "registry: s3://bucket/registry.db", "s3://bucket/registry.db"),
        ("registry", "registry: {registry_type: remote, path: 'host:6570'}", "host:6570"),
        ("registry", "registry: {registry_type: sql, path: '${SECRET_URL}'}", "${SECRET_URL}"),
        ("registry", "registry: {registry_type: sql, path: 'sqlite:///r.db?timeout=9'}", "sqlite:///{repo}/r.db?timeout=9"),
        ("registry", "registry: {registry_type: sql, path: 'sqlite:////abs/r.db'}", "sqlite:////abs/r.db"),
        ("registry", "registry: {registry_type: sql, path: 'sqlite+pysqlite:///${RELATIVE}'}",
         "sqlite+pysqlite:///{repo}/data/of_variable.db"),
    ],
)  # fmt: skip
def test_the_place_of_a_store_is_the_same_from_any_folder(tmp_path, monkeypatch, section, text, path):
    monkeypatch.setenv("RELATIVE", "data/of_variable.db")
    monkeypatch.setenv("ABSOLUTE", "/somewhere")
    monkeypatch.setenv("SECRET_URL", "postgresql://user:secret@host/db")
    assert config(tmp_path, f"project: p\n{text}\n")[section]["path"] == path.replace("{repo}", str(tmp_path))


def test_files_of_a_section_and_of_stores_inside_it_are_absolute(tmp_path):
    (tmp_path / "ca.pem").write_text("a certificate")
    hybrid = {"type": "hybrid", "online_stores": [{"type": "sqlite", "conf": {"path": "a.db"}}]}
    text = {"registry": {"registry_type": "remote", "path": "h:1", "cert": "ca.pem"}, "online_store": hybrid}
    read = config(tmp_path, yaml.safe_dump(text))
    assert read["registry"]["cert"] == str(tmp_path / "ca.pem")
    assert read["online_store"]["online_stores"][0]["conf"]["path"] == str(tmp_path / "a.db")


def test_a_path_with_a_variable_that_is_not_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="environment variable NOWHERE_SET, which is not set"):
        config(tmp_path, "project: p\nregistry: ${NOWHERE_SET}\n")


def test_a_store_that_is_not_there_is_named_and_not_created(tmp_path):
    (tmp_path / "feature_store.yaml").write_text(
        "project: p\nregistry: r.db\nonline_store: {path: '${PLACE_OF_TEST}'}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PLACE_OF_TEST", str(tmp_path / "online.db"))
        text = online_config(tmp_path)
        for name in ("r.db", "online.db"):
            with pytest.raises(InputError, match=f"{name} does not exist. Materialise"):
                expanded(text)
            (tmp_path / name).touch()
        assert expanded(text)["online_store"]["path"] == str(tmp_path / "online.db")


@pytest.mark.parametrize(("text", "says"), [("[]", "not a mapping"), ("a: b: c", "not YAML")])
def test_file_that_is_no_configuration_is_refused(tmp_path, text, says):
    with pytest.raises(InputError, match=says):
        config(tmp_path, text)
    with pytest.raises(InputError, match=r"feature_store\.yaml does not exist"):
        online_config(tmp_path / "elsewhere")
