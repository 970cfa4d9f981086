import pytest

from tests.two_tower import shop
from tests.two_tower.data.pulling import CONFIG
from two_tower.data import features
from two_tower.data.repository import open_store
from two_tower.errors import InputError
from two_tower.schema import Dtype, Encoding


def test_contract_is_read_from_a_repository_with_its_own_keys(pulled):
    contract = pulled.contract
    assert (contract.user_key, contract.user_key_dtype) == ("customer", Dtype.INT64)
    assert (contract.item_key, contract.item_key_dtype) == ("sku", Dtype.STRING)
    assert [f.name for f in contract.user] == ["age", "member", "joined", "recent", "orders"]
    assert contract.user[3].encoding == Encoding.HISTORY and contract.user[3].max_length == 5
    assert contract.seen.name == "bought" and contract.seen.dtype == Dtype.STRINGS


def test_repositories_with_modules_of_one_name_are_not_mixed_up(tmp_path, repo):
    renamed = shop.DEFINITIONS.replace('name="orders", dtype', 'name="purchases", dtype').replace(
        '": "orders"', '": "purchases"'
    )
    other = shop.write(tmp_path / "repo", renamed)
    names = [[f.name for f in features.contract(features.apply(r)).user] for r in (repo, other, repo)]
    assert names[0] == names[2] and names[0][-1] == "orders" and names[1][-1] == "purchases"


def without(text: str, part: str) -> str:
    assert part in text
    return text.replace(part, "")


@pytest.mark.parametrize(
    ("definitions", "message"),
    [
        (without(shop.DEFINITIONS, 'item_tower = FeatureService(name="item_tower", features=[products, stock])'),
         r"missing feature service 'item_tower'.*Allowed: user_seen, user_tower"),
        (shop.DEFINITIONS.replace('name="interactions"', 'name="interaction"'),
         r"missing feature view 'interactions'. Did you mean 'interaction'\?"),
        (shop.DEFINITIONS.replace('name="user", ', 'name="usr", '), r"missing entity 'user'. Did you mean 'usr'\?"),
        (shop.DEFINITIONS.replace("entities=[customer, product]", "entities=[customer]"),
         r"'interactions' has the join keys \['customer'\]"),
        (shop.DEFINITIONS.replace("features=[customers, activity]", "features=[customers, stock]"),
         r"'user_tower' uses feature view 'stock'"),
        (shop.DEFINITIONS.replace('name="age", dtype=Int64', 'name="age", dtype=Array(Bool)'),
         r"field 'age' has the dtype Array\(Bool\)"),
        (shop.DEFINITIONS.replace('name="age", dtype=Int64', 'name="age", dtype=String'),
         r"column 'age' of feature view 'customers' in .*customers.parquet has the type int64; String needs string"),
        (shop.DEFINITIONS.replace('name="recent", dtype=Array(String)', 'name="recent", dtype=Array(Int64)'),
         r"column 'recent' .* has the type list<\w+: string>; Array\(Int64\) needs list<item: int64>"),
        (shop.DEFINITIONS.replace('Field(name="age"', 'Field(name="agee"'),
         r"unknown column of feature view 'customers' .* 'agee'. Did you mean 'age'\?"),
        (shop.DEFINITIONS.replace('name="customers",', 'name="customers", online=False,'),
         r"'user_tower' uses feature view 'customers', which is not in the online store.*online=True"),
        (shop.DEFINITIONS.replace('name="seen",', 'name="seen", enabled=False,'),
         r"'user_seen' uses feature view 'seen', which is not in the online store.*enabled=True"),
        (shop.DEFINITIONS.replace('name="left", dtype=Int64', 'name="at", dtype=UnixTimestamp'),
         r"'item_tower' uses feature view 'stock', whose field 'at' is also a timestamp column"),
        (shop.DEFINITIONS.replace('name="colour", dtype=String', 'name="written", dtype=UnixTimestamp'),
         r"'products', whose field 'written' is also a timestamp column"),
        (shop.DEFINITIONS.replace('name="left"', 'name="two_tower_row"'), r"two_tower_row is a reserved name"),
        (shop.DEFINITIONS.replace('join_keys=["sku"]', 'join_keys=["split"]').replace("sku", "split"),
         r"join key 'split' has a reserved name"),
        (shop.DEFINITIONS.replace('["sku"], value_type=ValueType.STRING', '["sku"], value_type=ValueType.BYTES'),
         r"join key 'sku' has the type Bytes. Allowed: String, Int32, Int64"),
        (shop.DEFINITIONS.replace("data/{name}.parquet", "data/{name}s.parquet"), r"orderss.parquet does not exist"),
    ],
)  # fmt: skip
def test_definitions_that_cannot_be_used_are_named(tmp_path, definitions, message):
    with pytest.raises(InputError, match=message):
        features.pull(shop.write(tmp_path / "repo", definitions), CONFIG, None, tmp_path / "pulled")


def test_an_item_view_may_be_offline(tmp_path):
    text = shop.DEFINITIONS.replace('name="products",', 'name="products", online=False,')
    assert len(features.contract(features.apply(shop.write(tmp_path / "repo", text))).item) == 4


def test_a_registry_file_of_something_else_is_named(tmp_path):
    repo = shop.write(tmp_path / "repo")
    (repo / "data" / "registry.db").write_bytes(b"\xff\xff not a registry of this version")
    with pytest.raises(InputError, match="another version of Feast"):
        features.apply(repo)


def test_a_service_that_names_a_view_no_longer_there(tmp_path):
    repo = shop.write(tmp_path / "repo")
    store = features.apply(repo)
    store.registry.delete_feature_view("activity", store.project)
    with pytest.raises(InputError, match=r"missing feature view 'activity'.*'user_tower' uses it"):
        features.contract(open_store(repo))


def test_a_folder_without_a_repository(tmp_path):
    with pytest.raises(InputError, match=r"does not contain a feature_store\.yaml"):
        features.apply(tmp_path)


def test_a_second_repository_does_not_delete_the_views_of_another_from_their_registry(tmp_path):
    shared = shop.CONFIG.replace(
        "data/registry.db", f"{{registry_type: sql, path: 'sqlite:///{tmp_path}/registry.db'}}"
    )
    first = shop.write(tmp_path / "first", config=shared)
    features.apply(first)
    assert features.contract(features.apply(first)).user_key == "customer", "the same repository is applied again"
    text = shop.DEFINITIONS.replace('name="stock"', 'name="store"').replace('name="user_seen"', 'name="user_all"')
    second = shop.write(tmp_path / "second", text, config=shared)
    with pytest.raises(InputError, match=r"would delete stock, user_seen from the registry of project 'shop'"):
        features.apply(second)
    (second / "feature_store.yaml").write_text(shared.replace("project: shop", "project: other"))
    features.apply(second)
    assert "stock" in {v.name for v in open_store(first).list_feature_views()}
