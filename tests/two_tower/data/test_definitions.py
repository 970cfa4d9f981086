"""Mistakes in feature_store.yaml and in definitions are named with their file and line."""

import pytest

from tests.two_tower import shop
from two_tower.data import definitions, features
from two_tower.data.fingerprint import fingerprint
from two_tower.errors import InputError


def changed(text: str, old: str, new: str) -> str:
    assert old in text, old
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("from datetime", "import our_library\nfrom datetime", r"definitions.py line 2: ModuleNotFoundError: .*'our_"),
        ("item_tower =", "item_tower = =", r"definitions.py line \d+: SyntaxError: invalid syntax"),
        ("item_tower =", "1 / 0\nitem_tower =", r"definitions.py line \d+: ZeroDivisionError: division by zero"),
        ('tags={"enc', 'tags={"a": 1, "enc', r'definitions.py line \d+: TypeCheckError: argument "tags"'),
        ('["customer"]', '["customer", "shop"]', r"line 7: ValueError: An entity may only have a single join key"),
        ("[customers, activity]", '[customers[["agee"]]]', r"definitions.py line \d+: ValueError: Feature agee does"),
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_imported(tmp_path, old, new, message):
    repo = shop.write(tmp_path / "repo", changed(shop.DEFINITIONS, old, new))
    for call in (features.apply, fingerprint):
        with pytest.raises(InputError, match=f"feature repository repo, .*{message}.* Correct the definitions"):
            call(repo)


@pytest.mark.parametrize(
    ("definitions", "config", "message"),
    [
        (changed(shop.DEFINITIONS, 'name="stock"', 'name="products"'), shop.CONFIG,
         "feature repository repo: ConflictingFeatureViewNames: Multiple FeatureViews with name 'products' found"),
        (shop.DEFINITIONS + 'from feast import Project\nother = Project(name="other")\n', shop.CONFIG,
         "feature repository repo: .*Project object name should match"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "{type: duckdb}", "{type: duckdb"),
         "is not YAML: while parsing.*line 5"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "project: shop", ""), r"feature_store.yaml: project: Field required\."),
        (shop.DEFINITIONS, changed(shop.CONFIG, "project: shop", "project: my shop!"), "project: .*alphanumerical"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "registry: data/registry.db", ""), "FeastRegistryNotSetError"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "type: sqlite", "type: sqlitee"), "OnlineStoreInvalidName.*'sqlitee'"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "path: data/online.db", "paht: x"), "feature_store.yaml: paht: Extra"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "type: duckdb", "type: bigquery"),
         "FeastModuleImportError: .*bigquery.* install the package of the store"),
        (shop.DEFINITIONS, changed(shop.CONFIG, "data/online.db", '"${NOWHERE_SET}/online.db"'),
         "feature_store.yaml uses the environment variable NOWHERE_SET, which is not set"),
        (changed(shop.DEFINITIONS, '"max_length": "5"', '"max_length": 5'), shop.CONFIG,
         "tag 'max_length' of field 'recent' of feature view 'activity' is 5; a tag is a text. Write '5'"),
    ],
)  # fmt: skip
def test_configurations_that_feast_refuses(tmp_path, definitions, config, message):
    with pytest.raises(InputError, match=message):
        features.apply(shop.write(tmp_path / "repo", definitions, config))


def test_modules_of_a_repository_are_removed_after_an_error(tmp_path):
    repo = shop.write(tmp_path / "repo", "raise RuntimeError('once')")
    with pytest.raises(InputError, match="RuntimeError: once"):
        definitions.parse(repo)
    (repo / "definitions.py").write_text(shop.DEFINITIONS)
    assert {s.name for s in definitions.parse(repo).feature_services} == {"user_tower", "item_tower", "user_seen"}
