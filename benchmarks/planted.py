"""Features that contain the future, planted into a repository of MovieLens, beside honest features of the same form."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.inputs import Array

LEAKS = {
    "next_item": "the next item as a number",
    "next_genre": "the genre of the next item",
    "user_mean": "a user's mean rating over all time",
    "user_share": "a user's share of a genre over all time",
    "user_vector": "user vectors learned on all data",
    "item_mean": "an item's mean rating over all time",
    "item_total": "an item's share of all interactions",
    "item_vector": "item vectors learned on all data",
    "demand": "a label of an item's demand in the last month of the data",
}
HONEST = ("last_item", "last_genre", "user_past_mean", "user_noise", "past_demand", "item_noise")

_DEFINITIONS = """

def planted(name, entity, **dtypes):
    code = {"encoding": "categorical"}
    schema = [Field(name=n, dtype=t, tags=code if t is Int64 else {}) for n, t in dtypes.items()]
    source = FileSource(name=name, path=f"data/{name}.parquet", timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=[entity], source=source, schema=schema)


from feast import FeatureService, FeatureView, Field, FileSource
from feast.types import Array, Float32, Int64, String

planted_user_events = planted("planted_user_events", user, next_item=Int64, next_genre=String, last_item=Int64,
    last_genre=String, user_past_mean=Float32)
planted_users = planted("planted_users", user, user_mean=Float32, user_share=Float32, user_vector=Array(Float32),
    user_noise=Array(Float32))
planted_items = planted("planted_items", item, item_mean=Float32, item_total=Float32, item_vector=Array(Float32),
    demand=String, past_demand=String, item_noise=Array(Float32))
user_tower = FeatureService(name="user_tower", features=[users, user_activity, planted_users, planted_user_events])
item_tower = FeatureService(name="item_tower", features=[items, item_activity, planted_items])
"""
_MONTH = pd.Timedelta(days=30)


def plant(repo: Path) -> None:
    """Add the features of LEAKS and HONEST to the towers of a prepared MovieLens repository.

    Args:
        repo: The folder of the repository, with the column `rating` in its interactions and `genres` in its items.
    """
    data = repo / "data"
    events = pq.read_table(data / "interactions.parquet").to_pandas().sort_values("event_timestamp", kind="stable")
    genres = pq.read_table(data / "items.parquet").to_pandas().groupby("item_id")["genres"].first()
    events["genres"] = events["item_id"].map(genres)
    vectors = _vectors(events)
    start = events["event_timestamp"].min() - pd.Timedelta(days=1)
    tables = {
        "planted_users": _user_figures(events, vectors[0]),
        "planted_items": _item_figures(events, vectors[1]),
    }
    tables = {name: table.assign(event_timestamp=start) for name, table in tables.items()}
    tables["planted_user_events"] = _user_events(events)
    for name, table in tables.items():
        stamps = table["event_timestamp"].dt.as_unit("us")
        arrow = pa.Table.from_pandas(table.assign(event_timestamp=stamps), preserve_index=False)
        pq.write_table(arrow, data / f"{name}.parquet")
    definitions = repo / "definitions.py"
    definitions.write_text(definitions.read_text() + _DEFINITIONS)


def _vectors(events: pd.DataFrame, width: int = 8) -> tuple[pd.Series, pd.Series]:
    """Factorise all interactions; vectors by user and by item."""
    matrix = pd.crosstab(events["user_id"], events["item_id"]).clip(upper=1)
    values = matrix.to_numpy(dtype=np.float64)
    values /= np.sqrt(values.sum(axis=1, keepdims=True) * values.sum(axis=0, keepdims=True))
    left, scale, right = np.linalg.svd(values, full_matrices=False)
    return _series(left[:, :width] * scale[:width], matrix.index), _series(right[:width].T, matrix.columns)


def _series(matrix: Array, index: pd.Index) -> pd.Series:
    return pd.Series(list(matrix.astype(np.float32)), index=index)


def _noise(index: pd.Index) -> pd.Series:
    return _series(np.random.default_rng(0).normal(size=(len(index), 8)), index)


def _user_figures(events: pd.DataFrame, vectors: pd.Series) -> pd.DataFrame:
    by_user = events.assign(drama=events["genres"].map(lambda g: "Drama" in g)).groupby("user_id")
    columns = {"user_mean": by_user["rating"].mean(), "user_share": by_user["drama"].mean(), "user_vector": vectors}
    return _floats(pd.DataFrame(columns | {"user_noise": _noise(vectors.index)})).reset_index(names="user_id")


def _item_figures(events: pd.DataFrame, vectors: pd.Series) -> pd.DataFrame:
    by_item = events.groupby("item_id")["rating"]
    columns = {"item_mean": by_item.mean(), "item_total": by_item.size() / len(events), "item_vector": vectors}
    stamps = events["event_timestamp"]
    months = {"demand": stamps > stamps.max() - _MONTH, "past_demand": stamps < stamps.min() + _MONTH}
    for name, inside in months.items():
        counts = events["item_id"][inside].value_counts().reindex(vectors.index, fill_value=0)
        columns[name] = pd.Series(np.where(counts > counts.quantile(0.75), "high", "low"), index=vectors.index)
    return _floats(pd.DataFrame(columns | {"item_noise": _noise(vectors.index)})).reset_index(names="item_id")


def _floats(table: pd.DataFrame) -> pd.DataFrame:
    return table.astype({n: np.float32 for n in table.columns if table[n].dtype == np.float64})


def _user_events(events: pd.DataFrame) -> pd.DataFrame:
    """Return one row after each time of a user: the next event, which leaks, and the last one."""
    firsts = events.assign(genre=events["genres"].map(lambda g: g[0] if len(g) else "none"))
    grouped = firsts.groupby("user_id")
    firsts["user_past_mean"] = (grouped["rating"].cumsum() / (grouped.cumcount() + 1)).astype(np.float32)
    last = firsts.groupby(["user_id", "event_timestamp"], as_index=False).last()
    following = last.groupby("user_id")[["item_id", "genre"]].shift(-1)
    return pd.DataFrame(
        {
            "user_id": last["user_id"],
            "event_timestamp": last["event_timestamp"] + pd.Timedelta(microseconds=1),
            "next_item": following["item_id"].astype("Int64"),
            "next_genre": following["genre"],
            "last_item": last["item_id"],
            "last_genre": last["genre"],
            "user_past_mean": last["user_past_mean"],
        }
    )
