"""Read the online store at each request of the service. Needs only Feast, and does not need an offline store."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from feast import FeatureStore
from feast.online_response import OnlineResponse

from two_tower.data.repository import service, view
from two_tower.schema import SEEN_SERVICE, USER_SERVICE, Contract, Dtype


def online_rows(
    store: FeatureStore, schema: Contract, user_ids: Sequence[str | int], at: datetime | None = None
) -> list[dict[str, Any] | None]:
    """Read the features of users from the online store, in one read.

    Args:
        store: The feature store.
        schema: The feature contract.
        user_ids: The ids of the users.
        at: The time of the request, with a time zone. A row that is older than the ttl of its view at this time is
            missing, as in training. None: now.

    Returns:
        For each user, the features of the user tower and the seen feature, by name. The values are raw Feast values:
        timestamps are datetimes in UTC, and missing values are None. None for a user that is not in the store.
    """
    references, ttls = _references(store, schema)
    response = store.get_online_features(references, [{schema.user_key: user} for user in user_ids])
    values = response.to_dict()
    if ttls:
        _remove_expired(values, response, ttls, at or datetime.now(UTC))
    features = [*schema.user, *([schema.seen] if schema.seen else [])]
    stamps = {f.name for f in features if f.dtype == Dtype.TIMESTAMP}
    rows = []
    for i in range(len(user_ids)):
        row = {f.name: _value(values[f.name][i], f.name in stamps) for f in features}
        rows.append(row if any(value is not None for value in row.values()) else None)
    return rows


def _remove_expired(
    values: dict[str, list[Any]], response: OnlineResponse, ttls: Mapping[str, timedelta], at: datetime
) -> None:
    """Set values to None whose row is older than the ttl of its view. Feast returns them."""
    for name, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
        if name in ttls:
            oldest = at - ttls[name]
            values[name] = [
                value if stamp.ToDatetime(UTC) >= oldest else None
                for value, stamp in zip(values[name], vector.event_timestamps, strict=True)
            ]


def feature_time(store: FeatureStore, schema: Contract, user_id: str | int) -> datetime | None:
    """Return the timestamp of the newest feature row of a user in the online store.

    Args:
        store: The feature store.
        schema: The feature contract.
        user_id: The id of the user.

    Returns:
        The timestamp in UTC. None for a user that is not in the store.
    """
    references, _ = _references(store, schema)
    values = store.get_online_features(references, [{schema.user_key: user_id}]).to_dict(include_event_timestamps=True)
    newest = max(values[f"{f.name}__ts"][0] for f in schema.user)
    return datetime.fromtimestamp(newest, tz=UTC) if newest else None


@lru_cache(maxsize=8)  # parsing a feature service takes ten times as long as the read; a contract never changes
def _references(store: FeatureStore, schema: Contract) -> tuple[list[str], dict[str, timedelta]]:
    """Return the features to read, as `view:feature`, and the ttl of each feature whose view has one."""
    references, ttls = [], {}
    for name in (USER_SERVICE, *((SEEN_SERVICE,) if schema.seen else ())):
        for projection in service(store, name).feature_view_projections:
            ttl = view(store, projection.name, "the service reads it").ttl
            for f in projection.features:
                references.append(f"{projection.name_to_use()}:{f.name}")
                if ttl:
                    ttls[f.name] = ttl
    return list(dict.fromkeys(references)), ttls  # a feature of both services is read once


def _value(value: Any, is_stamp: bool) -> Any:
    if is_stamp and isinstance(value, int):
        return datetime.fromtimestamp(value, tz=UTC)
    return value
