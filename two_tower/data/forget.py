"""Remove a user from the online store."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

from feast import FeatureStore, FeatureView
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from two_tower.data import materialize, repository, stores
from two_tower.data.online import online_request
from two_tower.errors import InputError
from two_tower.schema import Dtype


def forget_user(repo: Path, user: str) -> dict[str, bool]:
    """Set the features of a user to missing in the online store, in each view whose only key is the user's.

    Feast has no call that removes a row, so the key and the timestamp of the row stay. The service treats such a user
    as unknown. A materialisation writes the features again, unless the tables no longer have the user.

    Args:
        repo: The folder of the Feast feature repository, which has been applied.
        user: The id of the user.

    Returns:
        For each feature view, whether it held features of the user.

    Raises:
        InputError: If the id does not have the dtype of the key, or a store cannot be reached.
    """
    with (
        contextlib.chdir(repo),
        stores.as_input_error(f"cannot forget the user in {repo.name}", "Start the store and try again."),
    ):
        store = repository.open_store(Path.cwd())
        schema = repository.contract(store)
        if schema.user_key_dtype == Dtype.INT64 and not user.lstrip("-").isdecimal():
            raise InputError(f"user {user!r:.60} is not a whole number, and {schema.user_key!r} is. Pass such an id.")
        user_id = int(user) if schema.user_key_dtype == Dtype.INT64 else user
        keys = online_request(store, schema).keys
        if hasattr(store.config.online_store, "skip_dedup"):
            store.config.online_store.skip_dedup = True  # else Redis ignores a row that is not newer than its own
        views = [
            v for v in materialize.online_views(store) if [c.name for c in v.entity_columns] in [[k] for k in keys]
        ]
        return {view.name: _clear(store, view, user_id) for view in views}


def _clear(store: FeatureStore, view: FeatureView, user_id: str | int) -> bool:
    (column,) = view.entity_columns
    (value,) = python_values_to_proto_values([user_id], column.dtype.to_value_type())
    key = EntityKey(join_keys=[column.name], entity_values=[value])
    ((stamp, features),) = materialize.held_rows(store, view, [key])
    if not any(value.WhichOneof("val") for value in features.values()):
        return False
    row = (key, dict.fromkeys(features, Value()), stamp)
    return materialize.write_rows(store, view, [row], datetime.now(UTC)) == 1
