"""The Feast code of a new repository, as a person would write it."""

from collections.abc import Iterable

from two_tower.data.pulled import WEIGHT
from two_tower.schema import Dtype
from two_tower.starter.plan import FIRST_SEEN, ITEM_ID, Column, Plan

_BUCKETS = '{"encoding": "bucketized", "buckets": "16"}'

_HEAD = '''"""Feast definitions, written by `two-tower init` from plain tables; yours to edit.

A field's dtype and tags say how a tower reads it. A new field needs a column of its name in the source's parquet file.
`two-tower init` in this folder computes data/ again from the files that init.json names, and leaves this file alone.
"""

from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import {types}

DATA = Path(__file__).parent / "data"


def source(name: str) -> FileSource:
    return FileSource(name=name, path=str(DATA / f"{{name}}.parquet"), timestamp_field="event_timestamp")


user = Entity(name="user", join_keys=["{user_key}"], value_type=ValueType.{user_type})
item = Entity(name="item", join_keys=["{item_key}"], value_type=ValueType.{item_type})

'''

_USER_ACTIVITY = """# A row describes the time strictly before its own, so that no event is ever joined with itself.
user_activity = FeatureView(
    name="user_activity",
    entities=[user],
    source=source("user_activity"),
    schema=[
        Field(name="recent_items", dtype=Array({item}), tags={{"encoding": "history", "max_length": "50"}}),
        Field(name="user_events", dtype=Int64, tags={buckets}),
        Field(name="last_seen", dtype=UnixTimestamp),
    ],
)

"""

_TAIL = """item_activity = FeatureView(
    name="item_activity",
    entities=[item],
    source=source("item_activity"),
    schema=[
        Field(name="item_events_7d", dtype=Int64, tags={buckets}),
        Field(name="item_events_30d", dtype=Int64, tags={buckets}),
        Field(name="item_events", dtype=Int64, tags={buckets}),
    ],
)

seen_items = FeatureView(
    name="seen_items",
    entities=[user],
    source=source("user_seen"),
    schema=[Field(name="seen_items", dtype=Array({item}))],
)

# The positives: read from the offline store for training, never served.
interactions = FeatureView(
    name="interactions",
    entities=[user, item],
    source=source("interactions"),
    online=False,
{facts})

user_tower = FeatureService(name="user_tower", features=[{user_views}])
item_tower = FeatureService(name="item_tower", features=[items, item_activity])
user_seen = FeatureService(name="user_seen", features=[seen_items])
"""

_WEIGHT = f'        Field(name="{WEIGHT}", dtype=Float32),  # 1 in each row: a feature view needs a field'

STORE = """project: {project}
provider: local
registry: data/registry.db
offline_store:
  type: duckdb
online_store:
  type: sqlite
  path: data/online.db
entity_key_serialization_version: 3
"""


def definitions(plan: Plan) -> str:
    """The text of definitions.py."""
    users, items = plan.features("user"), plan.features("item")
    facts = plan.facts
    item_type = str(plan.item_dtype)
    identity = (
        f'        Field(name="{ITEM_ID}", dtype={item_type}, tags={{"encoding": "categorical"}}),'
        "  # the key: shared with recent_items"
    )
    own = [identity] if plan.items else [identity, f'        Field(name="{FIRST_SEEN}", dtype=UnixTimestamp),']
    body = (
        (_view("users", "user", _fields(users)) if users else "")
        + _USER_ACTIVITY.format(item=item_type, buckets=_BUCKETS)
        + _view("items", "item", [*own, *_fields(items)])
        + _TAIL.format(
            item=item_type,
            buckets=_BUCKETS,
            facts="    schema=[\n" + "\n".join(_fields(facts) or [_WEIGHT]) + "\n    ],\n",
            user_views="users, user_activity" if users else "user_activity",
        )
    )
    types = {_base(c.dtype) for c in (*users, *items, *facts) if c.dtype} | (set() if facts else {"Float32"})
    head = _HEAD.format(
        types=", ".join(sorted({"Array", "Int64", "UnixTimestamp", item_type, *types})),
        user_key=plan.user_key,
        item_key=plan.item_key,
        user_type=str(plan.user_dtype).upper(),
        item_type=item_type.upper(),
    )
    return head + body


def _base(dtype: Dtype) -> str:
    return str(dtype).removeprefix("Array(").removesuffix(")")


def _view(name: str, entity: str, fields: Iterable[str]) -> str:
    lines = "\n".join(fields)
    return (
        f'{name} = FeatureView(\n    name="{name}",\n    entities=[{entity}],\n    source=source("{name}"),\n'
        f"    schema=[\n{lines}\n    ],\n)\n\n"
    )


def _fields(columns: Iterable[Column]) -> list[str]:
    return [f'        Field(name="{c.field}", dtype={c.dtype}{_tags(c)}),{_origin(c)}' for c in columns]


def _tags(column: Column) -> str:
    said = ", ".join(f'"{name}": "{value}"' for name, value in column.tags.items())
    return f", tags={{{said}}}" if said else ""


def _origin(column: Column) -> str:
    """Where a name does not say it: the column of the file."""
    return "" if column.source == column.field else f"  # {column.source}"
