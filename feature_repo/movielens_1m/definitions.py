"""Feast definitions of MovieLens 1M: ratings as positives, features of users and films."""

from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Array, Float32, Int64, String, UnixTimestamp

DATA = Path(__file__).parent / "data"


def source(name: str) -> FileSource:
    return FileSource(name=name, path=str(DATA / f"{name}.parquet"), timestamp_field="event_timestamp")


user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.INT64)

users = FeatureView(
    name="users",
    entities=[user],
    source=source("users"),
    schema=[
        Field(name="gender", dtype=String),
        Field(name="age_band", dtype=Int64, tags={"encoding": "categorical"}),  # lower end of the age band
        Field(
            name="occupation", dtype=Int64, tags={"encoding": "categorical"}
        ),  # a code; see the README of the data set
        Field(name="zip_region", dtype=String),  # first character of the zip code
    ],
)

# A row with timestamp t describes the state strictly before t, so a point-in-time join never includes the event itself.
user_activity = FeatureView(
    name="user_activity",
    entities=[user],
    source=source("user_activity"),
    schema=[
        Field(name="recent_items", dtype=Array(Int64), tags={"encoding": "history", "max_length": "50"}),
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
            name="item", dtype=Int64, tags={"encoding": "categorical"}
        ),  # the join key; shares its embeddings with recent_items
        Field(name="title_words", dtype=Array(String), tags={"min_count": "2"}),
        Field(name="genres", dtype=Array(String)),
        Field(name="year", dtype=Int64),  # release year, from the title
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
    schema=[Field(name="seen_items", dtype=Array(Int64))],
)

# The positives of training: read only from the offline store, not served.
interactions = FeatureView(
    name="interactions",
    entities=[user, item],
    source=source("interactions"),
    online=False,
    schema=[Field(name="rating", dtype=Float32)],
)

user_tower = FeatureService(name="user_tower", features=[users, user_activity])
item_tower = FeatureService(name="item_tower", features=[items, item_activity])
user_seen = FeatureService(name="user_seen", features=[seen_items])
