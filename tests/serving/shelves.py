"""A small Feast repository whose online store holds USERS."""

import warnings
from datetime import UTC, datetime
from pathlib import Path

from tests.serving.making import USERS
from tests.two_tower import parts

SQLITE = "{type: sqlite, path: data/online.db}"
PUSHED = "users_push"  # name of the push source


def stocked(repo: Path, online_store: str = SQLITE, *, push: bool = False) -> Path:
    """Write the files of the repository and its online store. push: whether the view has the push source PUSHED."""
    import feast
    import pandas as pd
    from feast import types

    (repo / "feature_store.yaml").write_text(
        "project: tiny\nprovider: local\nregistry: data/registry.db\noffline_store: {type: duckdb}\n"
        f"online_store: {online_store}\nentity_key_serialization_version: 3\n"
    )
    kinds = {"String": types.String, "Float32": types.Float32, "Int64": types.Int64, "Bool": types.Bool}
    kinds |= {"UnixTimestamp": types.UnixTimestamp, "Array(String)": types.Array(types.String)}
    kinds |= {"Array(Float32)": types.Array(types.Float32)}
    declared = [*parts.CONTRACT.user, parts.CONTRACT.seen]
    user = feast.Entity(name="user", join_keys=["user_id"], value_type=feast.ValueType.STRING)
    source = feast.FileSource(path=str(repo / "users.parquet"), timestamp_field="event_timestamp")
    view = feast.FeatureView(
        name="users",
        entities=[user],
        schema=[feast.Field(name=f.name, dtype=kinds[f.dtype]) for f in declared],
        source=feast.PushSource(name=PUSHED, batch_source=source) if push else source,
    )
    names = [f.name for f in parts.CONTRACT.user]
    frame = pd.DataFrame([row(name, datetime(2024, 1, 1, tzinfo=UTC)) for name in USERS])
    frame.to_parquet(repo / "users.parquet")
    store = feast.FeatureStore(repo_path=str(repo))
    services = [
        feast.FeatureService(name="user_tower", features=[view[names]]),
        feast.FeatureService(name="user_seen", features=[view[["seen_items"]]]),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast warns about its own API when it writes
        store.apply([user, view, *services])
        store.write_to_online_store("users", df=frame)
    return repo


def row(name: str, stamp: datetime) -> dict[str, object]:
    """Build the row of a user for the online store."""
    joined = datetime(2024, 1, 1, tzinfo=UTC)
    return {"user_id": name, "event_timestamp": stamp, "visits": 3, "member": True, "joined": joined, **USERS[name]}
