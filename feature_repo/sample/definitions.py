"""Feast definitions of the simulated shop, with features of every encoding."""

from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Bool, Float32, Int64, String, UnixTimestamp

DATA = Path(__file__).parent / "data"


def source(name: str) -> FileSource:
    return FileSource(name=name, path=str(DATA / f"{name}.parquet"), timestamp_field="event_timestamp")


user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)

users = FeatureView(
    name="users",
    entities=[user],
    source=source("users"),
    schema=[
        Field(name="country", dtype=String),
        Field(name="city", dtype=String, tags={"encoding": "hashed", "buckets": "200", "dim": "8"}),
        Field(name="age", dtype=Int64),
        Field(name="segment", dtype=Int64, tags={"encoding": "categorical"}),  # a code
        Field(name="income", dtype=Float32),  # missing for a fifth of the users
        Field(name="visits_per_week", dtype=Float32, tags={"encoding": "bucketized", "buckets": "16"}),
        Field(name="member", dtype=Bool),
        Field(name="signed_up", dtype=UnixTimestamp),
        Field(name="usual_visit", dtype=UnixTimestamp, tags={"encoding": "cyclic"}),
        Field(name="followed_brands", dtype=Array(Int64)),
        Field(name="interests", dtype=Array(String)),
    ],
)

# A row with timestamp t describes the state strictly before t, so a point-in-time join never includes the event itself.
user_activity = FeatureView(
    name="user_activity",
    entities=[user],
    source=source("user_activity"),
    schema=[
        Field(name="recent_items", dtype=Array(String), tags={"encoding": "history", "max_length": "50"}),
        Field(name="user_events", dtype=Int64, tags={"encoding": "bucketized", "buckets": "16"}),
        Field(name="last_seen", dtype=UnixTimestamp),
    ],
)

items = FeatureView(
    name="items",
    entities=[item],
    source=source("items"),
    schema=[
        Field(
            name="item", dtype=String, tags={"encoding": "categorical"}
        ),  # the join key; shares its embeddings with recent_items
        Field(name="category", dtype=String),
        Field(name="origin", dtype=String),
        Field(name="brand", dtype=Int64, tags={"encoding": "categorical"}),  # a code
        Field(name="seller", dtype=String, tags={"encoding": "hashed", "buckets": "200", "dim": "8"}),
        Field(name="price", dtype=Float32, tags={"encoding": "bucketized", "buckets": "16"}),
        Field(name="rating", dtype=Float32),  # missing for a tenth of the items
        Field(name="youth", dtype=Float32),
        Field(name="exclusive", dtype=Bool),
        Field(name="listed", dtype=UnixTimestamp),
        Field(name="daypart", dtype=String),
        Field(name="tags", dtype=Array(String)),
        Field(name="attributes", dtype=Array(Int64)),
        Field(name="image", dtype=Array(Float32)),  # 16 numbers
    ],
)

item_activity = FeatureView(
    name="item_activity",
    entities=[item],
    source=source("item_activity"),
    schema=[
        Field(name="item_events_7d", dtype=Int64, tags={"encoding": "bucketized", "buckets": "16"}),
        Field(name="item_events_30d", dtype=Int64, tags={"encoding": "bucketized", "buckets": "16"}),
        Field(name="item_events", dtype=Int64, tags={"encoding": "bucketized", "buckets": "16"}),
    ],
)

seen_items = FeatureView(
    name="seen_items",
    entities=[user],
    source=source("user_seen"),
    schema=[Field(name="seen_items", dtype=Array(String))],
)

# The positives of training: read only from the offline store, not served.
interactions = FeatureView(
    name="interactions",
    entities=[user, item],
    source=source("interactions"),
    online=False,
    schema=[Field(name="weight", dtype=Float32)],
)

user_tower = FeatureService(name="user_tower", features=[users, user_activity])
item_tower = FeatureService(name="item_tower", features=[items, item_activity])
user_seen = FeatureService(name="user_seen", features=[seen_items])
