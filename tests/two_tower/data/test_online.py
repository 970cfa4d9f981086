"""What the online store returns is what training reads, for repositories as teams write them."""

import pickle
from datetime import datetime

import pyarrow as pa
import pytest
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.protos.feast.core.StreamFeatureView_pb2 import StreamFeatureView

from tests.two_tower import shop
from two_tower.data import features
from two_tower.data.online import feature_time, online_rows
from two_tower.data.repository import contract, open_store
from two_tower.data.users import pull_users
from two_tower.errors import InputError

AS_OF = shop.at(shop.EVENTS - 1)
NAMES = (
    "snapshot",
    "updated",
    "event_timestamp",
    "split",
    "weight",
    "sku",
    "score",
    "item_id",
    "user_id",
    "at_",
    "row",
)


def changed(*pairs: tuple[str, str], text: str = shop.DEFINITIONS) -> str:
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


ACTIVITY = 'source=table("activity", field_mapping={"n": "orders"}),\n)'
DEFINITIONS = {
    "a projection": changed(("[customers, activity]", '[customers[["age", "joined"]], activity[["recent"]]]')),
    "a renamed view": changed(("[customers, activity]", '[customers.with_name("people"), activity.with_name("a b")]')),
    "a mapped join key": changed(
        ("customers = FeatureView(",
         'buyer = Entity(name="buyer", join_keys=["buyer_id"], value_type=ValueType.INT64)\ncustomers = FeatureView('),
        ('name="customers",\n    entities=[customer]', 'name="customers",\n    entities=[buyer]'),
        ('source=table("customers")', 'source=table("customers", field_mapping={"customer": "buyer_id"})'),
        ("[customers, activity]", '[customers.with_join_key_map({"buyer_id": "customer"}), activity]'),
    ),
    "mapped times": changed(
        ('return FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="at", **settings)',
         'settings["field_mapping"] = settings.get("field_mapping", {}) | {"at": "happened"}\n'
         '    return FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="happened", **settings)'),
    ),
    "a push source": changed(
        ("FileSource, ValueType", "FileSource, PushSource, ValueType"),
        ('source=table("customers"),', 'source=PushSource(name="pushed", batch_source=table("customers")),'),
    ),
    "a stream": changed(
        ("from feast.types", "from feast import KafkaSource\nfrom feast.data_format import JsonFormat\n"
         "from feast.stream_feature_view import StreamFeatureView\nfrom feast.types"),
        ("customers = FeatureView(", "customers = StreamFeatureView("),
        ('source=table("customers"),', 'source=KafkaSource(name="topic", kafka_bootstrap_servers="kafka:9092", '
         'topic="customers", timestamp_field="at", batch_source=table("customers"), message_format=JsonFormat("x")),\n'
         '    timestamp_field="at", aggregations=[],'),
    ),
    "a batch view": changed(
        ("FileSource, ValueType", "BatchFeatureView, FileSource, ValueType"),
        ("customers = FeatureView(", 'customers = BatchFeatureView(online=True, mode="python",'),
    ),
    "text references": changed(("[customers, activity]", '["customers:age", "activity"]')),
    "tags and owners": changed(
        ('name="user_tower", ', 'name="user_tower", tags={"team": "shop"}, owner="a@b.c", description="x", ')
    ),
    "Int32 keys": changed(("ValueType.INT64", "ValueType.INT32")),
    "keys of an inferred type": changed((", value_type=ValueType.INT64", "")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*experimental feature", "ignore:Entity value_type will be mandatory")
@pytest.mark.parametrize("name", DEFINITIONS)
def test_online_rows_are_what_training_reads(tmp_path, name):
    repo = shop.write(tmp_path / "repo", DEFINITIONS[name])
    features.materialize(repo, AS_OF)
    _compare(repo)


@pytest.mark.parametrize("key", ["UUID-like", "large", "negative"])
def test_keys_of_any_form_are_found_online(tmp_path, key):
    form = {
        "UUID-like": lambda c: f"6ba7b810-9dad-11d1-80b4-00c04fd430{c:02}",
        "large": lambda c: 2**60 + c,
        "negative": lambda c: -1 - c,
    }[key]
    tables = {
        name: table.set_column(
            table.column_names.index("customer"), "customer", pa.array([form(c) for c in table["customer"].to_pylist()])
        )
        for name, table in shop.tables().items()
        if "customer" in table.column_names
    }
    text = changed(("ValueType.INT64", "ValueType.STRING")) if key == "UUID-like" else shop.DEFINITIONS
    repo = shop.write(tmp_path / "repo", text, **tables)
    features.materialize(repo, AS_OF)
    _compare(repo)


def test_features_may_have_the_names_of_our_columns(tmp_path):
    tables = shop.tables()
    fields = "".join(f'        Field(name="{name}", dtype=Int64),\n' for name in NAMES if name != "sku")
    text = changed(
        ('        Field(name="age", dtype=Int64),\n', fields + '        Field(name="age", dtype=Int64),\n'),
        ('        Field(name="colour", dtype=String),\n', fields + '        Field(name="colour", dtype=String),\n'),
    )
    for name in ("customers", "products"):
        for number, column in enumerate(NAMES):
            if column not in tables[name].column_names:
                numbers = [number * 10 + row for row in range(tables[name].num_rows)]
                tables[name] = tables[name].append_column(column, pa.array(numbers))
    repo = shop.write(tmp_path / "repo", text, **tables)
    features.materialize(repo, AS_OF)
    _compare(repo)
    pulled = features.pull_catalogue(repo, None, tmp_path / "catalogue")
    assert set(NAMES) <= set(pulled.items.column_names)


def _compare(repo) -> None:
    store = open_store(repo)
    schema = contract(store)
    expected = pull_users(repo, AS_OF).to_pylist()
    users = [row.pop(schema.user_key) for row in expected]
    rows = online_rows(store, schema, users)
    assert len(rows) > 5 and all(any(v is not None for v in row.values()) for row in expected)
    for row, truth in zip(rows, expected, strict=True):
        assert {n: _whole_seconds(v) for n, v in row.items()} == {n: _whole_seconds(v) for n, v in truth.items()}
    assert feature_time(store, schema, users[1]) >= shop.START


def _whole_seconds(value):
    return value.replace(microsecond=0) if isinstance(value, datetime) else value or None if value == [] else value


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_registry_that_no_longer_fits_the_release_is_refused(tmp_path):
    repo = shop.write(tmp_path / "repo")
    schema = contract(features.apply(repo))
    (repo / "definitions.py").write_text(changed(("customers, activity", "customers")))
    with pytest.raises(InputError, match=r"'user_tower' of project 'shop' does not have orders, recent, which the rel"):
        online_rows(features.apply(repo), schema, [1])
    (repo / "definitions.py").write_text(changed(('name="activity",', 'name="activity", online=False,')))
    with pytest.raises(InputError, match=r"'user_tower' uses feature view 'activity', which is not in the online sto"):
        online_rows(features.apply(repo), schema, [1])
    (repo / "definitions.py").write_text(ON_DEMAND)
    with pytest.raises(InputError, match=r"feature view 'activity' is of the kind on-demand feature view"):
        online_rows(features.apply(repo), schema, [1])


ON_DEMAND = changed(
    ('activity = FeatureView(\n    name="activity"', 'history = FeatureView(\n    name="history"'),
    ("user_tower =", """
import pandas as pd
from feast import RequestSource
from feast.on_demand_feature_view import on_demand_feature_view

context = RequestSource(name="context", schema=[Field(name="minutes", dtype=Int64)])


@on_demand_feature_view(
    name="activity",
    sources=[history, context],
    schema=[Field(name="recent", dtype=Array(String)), Field(name="orders", dtype=Int64)],
)
def activity(inputs: pd.DataFrame) -> pd.DataFrame:
    return inputs[["recent", "orders"]]


user_tower ="""),
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*experimental feature", "ignore:.*udf")
@pytest.mark.parametrize("kind", ["on-demand", "stream", "batch"])
def test_a_function_in_the_registry_is_not_run(tmp_path, kind):
    """Whoever writes the registry after the training run can put a function into a view that the service reads."""
    repo = shop.write(tmp_path / "repo")
    schema = contract(features.apply(repo))
    features.materialize(repo, AS_OF)
    assert online_rows(open_store(repo), schema, [1])
    marker = tmp_path / "marker"
    _plant(repo / "data" / "registry.db", kind, marker)
    with pytest.raises(InputError, match=r"feature view 'activity' (is of the kind on-demand|has a transformation)"):
        online_rows(open_store(repo), schema, [1])
    assert not marker.exists()


def _plant(path, kind, marker) -> None:
    """Put a function that writes the marker when it is read into the view `activity` of a registry file."""
    registry = RegistryProto.FromString(path.read_bytes())
    (view,) = (one for one in registry.feature_views if one.spec.name == "activity")
    code = f"open({str(marker)!r}, 'w').close()\ndef f(inputs):\n    return inputs\n"
    if kind == "batch":
        view.spec.feature_transformation.user_defined_function.body_text = code
        view.spec.feature_transformation.user_defined_function.mode = "python"
    else:
        kept = StreamFeatureView() if kind == "stream" else OnDemandFeatureView()
        kept.spec.name, kept.spec.project = view.spec.name, view.spec.project
        kept.spec.features.extend(view.spec.features)
        if kind == "stream":
            kept.spec.user_defined_function.body = pickle.dumps(Planted(marker))
            registry.stream_feature_views.append(kept)
        else:
            kept.spec.mode = "pandas"
            kept.spec.feature_transformation.user_defined_function.body_text = code
            registry.on_demand_feature_views.append(kept)
        registry.feature_views.remove(view)
    path.write_bytes(registry.SerializeToString())


class Planted:
    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return open, (str(self.marker), "w")


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_view_computed_at_the_request_is_refused_before_training(tmp_path):
    store = features.apply(shop.write(tmp_path / "repo", ON_DEMAND))
    with pytest.raises(InputError, match=r"'activity' is of the kind on-demand .* 'user_tower' uses it"):
        contract(store)


@pytest.mark.filterwarnings("ignore:.*experimental feature")
def test_a_view_whose_values_are_transformed_when_it_is_materialised_is_refused(tmp_path):
    older = 'def older(rows):\n    return rows.assign(age=rows["age"] + 100)\n\n\n'
    view = 'customers = BatchFeatureView(online=True, mode="pandas", udf=older, udf_string="older",'
    text = changed(
        ("FileSource, ValueType", "BatchFeatureView, FileSource, ValueType"),
        ("customers = FeatureView(", older + view),
    )
    with pytest.raises(InputError, match=r"'customers' has a transformation .* FeatureView with online=True"):
        features.apply(shop.write(tmp_path / "repo", text))
