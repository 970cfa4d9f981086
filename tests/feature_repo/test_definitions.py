"""Each repository against its own data, through real Feast: what is declared is there, joins, and is served."""

from datetime import timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.raw import movielens_1m, movielens_100k, online_retail
from two_tower.data.features import apply, contract
from two_tower.datasets.prepare import prepare
from two_tower.inputs import ARROW_TYPES
from two_tower.schema import ENCODINGS, Dtype

SALES = (
    "1,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,Spain",
    "2,71053,LANTERN,2,2010-12-02 09:00:00,3.39,17850,Spain",
    "3,71053,LANTERN,2,2010-12-03 09:00:00,3.39,13047,France",
)
RAW = {
    "movielens-100k": movielens_100k,
    "movielens-1m": movielens_1m,
    "online-retail": lambda folder: online_retail(folder, *SALES),
}


@pytest.fixture(scope="module", params=["checkerboard", "sample", *RAW])
def repo(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    (root / "raw").mkdir()
    data_dir = RAW[request.param](root / "raw") if request.param in RAW else None
    prepare(request.param, data_dir, root / "repo")
    return root / "repo"


def test_declared_features_are_columns_of_their_type(repo: Path) -> None:
    store = apply(repo)
    columns = {f.name: f.type for p in (repo / "data").glob("*.parquet") for f in pq.read_schema(p)}
    schema = contract(store)
    assert schema.seen is not None
    for feature in (*schema.user, *schema.item, schema.seen):
        assert columns[feature.name] == ARROW_TYPES[feature.dtype], feature.name
    assert {columns[k] for k in (schema.user_key, schema.item_key)} <= {
        ARROW_TYPES[d] for d in (Dtype.INT64, Dtype.STRING)
    }


# ibis 12 calls DuckDB by a name that DuckDB 2 has deprecated.
@pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
def test_an_event_joins_what_was_known_and_the_store_serves_what_is(repo: Path) -> None:
    """The last event of the data: its user's history holds the events before it, and online it as well."""
    store = apply(repo)
    events = pq.read_table(repo / "data" / "interactions.parquet").sort_by("event_timestamp")
    newest = events.slice(events.num_rows - 1).to_pylist()[0]
    user, item, moment = newest["user_id"], newest["item_id"], newest["event_timestamp"]
    past = [e["item_id"] for e in events.to_pylist() if e["user_id"] == user and e["event_timestamp"] < moment]

    entity = events.slice(events.num_rows - 1).select(["user_id", "event_timestamp"]).to_pandas()
    joined = store.get_historical_features(entity, store.get_feature_service("user_tower")).to_arrow().to_pylist()[0]
    assert (joined["recent_items"] or []) == past[-50:]
    assert (joined["user_events"] or 0) == len(past)

    store.materialize(moment - timedelta(days=20_000), moment + timedelta(seconds=1))
    people = store.get_online_features(store.get_feature_service("user_tower"), [{"user_id": user}]).to_dict()
    assert people["recent_items"] == [[*past, item][-50:]]
    things = store.get_online_features(store.get_feature_service("item_tower"), [{"item_id": item}]).to_dict()
    assert things["item"] == [item]
    seen = store.get_online_features(store.get_feature_service("user_seen"), [{"user_id": user}]).to_dict()
    assert set(seen["seen_items"][0]) == {*past, item}


@pytest.mark.parametrize("repo", ["sample"], indirect=True)
def test_the_simulated_world_has_features_of_every_encoding(repo: Path) -> None:
    schema = contract(apply(repo))
    used = {(f.dtype, f.encoding) for f in (*schema.user, *schema.item)}
    assert {encoding for _, encoding in used} == {e for allowed in ENCODINGS.values() for e in allowed}
    assert {dtype for dtype, _ in used} == set(Dtype) - {Dtype.FLOAT64}
