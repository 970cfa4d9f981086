"""Environment variables are values, and not YAML."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.two_tower import shop
from two_tower.data.definitions import load_config
from two_tower.data.online_config import expanded, online_config
from two_tower.data.yaml_variables import dump_raw, load_expanded, load_raw

SECRETS = [
    "p: x",
    "p #x",
    "a\nb: c",
    "{a",
    "[1",
    "'",
    '"',
    "&a",
    "*a",
    "!x",
    "%",
    "- a",
    "null",
    "0123",
    "2024-01-01",
    "1e5",
]
TEXTS = st.one_of(
    st.sampled_from(SECRETS), st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1)
)


@given(TEXTS.filter(lambda text: "$" not in text))
def test_a_value_of_any_text_is_that_text(text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_OF_TEST", text)
        raw = "host: h\npassword: '${SECRET_OF_TEST}'\nurl: redis://:${SECRET_OF_TEST}@h\nplain: ${SECRET_OF_TEST}x\n"
        for config in (raw, dump_raw(load_raw(raw))):
            expected = {"host": "h", "password": text, "url": f"redis://:{text}@h", "plain": f"{text}x"}
            assert load_expanded(config) == expected


@pytest.mark.parametrize(
    ("text", "value"), [("6379", 6379), ("0", 0), ("-1", -1), ("true", True), ("0123", "0123"), ("", "")]
)
def test_a_value_without_quotes_may_be_a_number(monkeypatch: pytest.MonkeyPatch, text: str, value: object) -> None:
    monkeypatch.setenv("VALUE_OF_TEST", text)
    raw = "plain: ${VALUE_OF_TEST}\nquoted: '${VALUE_OF_TEST}'\nlist: [$VALUE_OF_TEST]\n"
    for config in (raw, dump_raw(load_raw(raw))):
        assert load_expanded(config) == {"plain": value, "quoted": text, "list": [value]}
    assert load_raw(raw)["plain"] == "${VALUE_OF_TEST}"


def test_no_python_object_is_made() -> None:
    for load in (load_expanded, load_raw):
        with pytest.raises(yaml.YAMLError):
            load("a: !!python/object/apply:os.getcwd []")


def test_a_repository_and_a_release_read_a_secret_as_it_is(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_TEST", "localhost:6379,password=a: b #c")
    store = "online_store:\n  type: redis\n  connection_string: ${SECRET_OF_TEST}\n"
    config = "project: shop\nprovider: local\nregistry: registry.db\nentity_key_serialization_version: 3\n" + store
    repo = shop.write(tmp_path / "repo", config=config)
    (repo / "registry.db").touch()
    assert load_config(repo).online_store.connection_string == "localhost:6379,password=a: b #c"
    release = online_config(repo)
    assert "${SECRET_OF_TEST}" in release, "a release has no secrets"
    assert expanded(release)["online_store"]["connection_string"] == "localhost:6379,password=a: b #c"
