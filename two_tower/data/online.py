"""Read the online store at each request of the service. Needs only Feast, and does not need an offline store."""

from collections.abc import Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from feast import FeatureStore, FeatureView
from feast.online_response import OnlineResponse

from two_tower.data.repository import check_online, service, view
from two_tower.errors import InputError
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
    request = online_request(store, schema)
    response = store.get_online_features(list(request.references), [dict.fromkeys(request.keys, u) for u in user_ids])
    values = response.to_dict()
    if request.ttls:
        _remove_expired(values, response, request.ttls, at or datetime.now(UTC))
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
    request = online_request(store, schema)
    response = store.get_online_features(list(request.references), [dict.fromkeys(request.keys, user_id)])
    values = response.to_dict(include_event_timestamps=True)
    newest = max(values[f"{f.name}__ts"][0] for f in schema.user)
    return datetime.fromtimestamp(newest, tz=UTC) if newest else None


class OnlineRequest(NamedTuple):
    """What to read from the online store for the features of a user.

    Attributes:
        references: The features, as `view:feature`.
        keys: The join keys of the views. All take the id of the user.
        ttls: The ttl of each feature whose view has one, by the name of the feature.
    """

    references: tuple[str, ...]
    keys: tuple[str, ...]
    ttls: dict[str, timedelta]


@lru_cache(maxsize=8)  # parsing a feature service takes ten times as long as the read; a contract never changes
def online_request(store: FeatureStore, schema: Contract) -> OnlineRequest:
    """Return what to read from the online store for the features of users in a contract.

    Args:
        store: The feature store, whose registry may be newer than the release.
        schema: The feature contract of the release.

    Raises:
        InputError: If a service does not have a feature of the contract, or a view of it cannot be read online or holds
            a function.
    """
    views: dict[str, FeatureView] = {}
    services = {USER_SERVICE: schema.user, SEEN_SERVICE: (schema.seen,) if schema.seen else ()}
    projections = {name: service(store, name).feature_view_projections for name, fields in services.items() if fields}
    _refuse_functions(store, {projection.name for listed in projections.values() for projection in listed})
    for name, features in services.items():
        expected = {f.name for f in features}
        for projection in projections.get(name, ()):
            for feature_name in [f.name for f in projection.features if f.name in expected]:
                source = view(store, projection.name, f"feature service {name!r} uses it")
                check_online(source, f"feature service {name!r} uses feature view {source.name!r}")
                views[feature_name] = source
        if missing := sorted(expected - set(views)):
            raise InputError(
                f"feature service {name!r} of project {store.project!r} does not have {', '.join(missing)}, which the "
                "release was trained with. Apply the definitions of the training run, or train again."
            )
    return OnlineRequest(
        references=tuple(f"{source.name}:{name}" for name, source in views.items()),
        keys=tuple(sorted({schema.user_key, *(c.name for source in views.values() for c in source.entity_columns)})),
        ttls={name: source.ttl for name, source in views.items() if source.ttl},
    )


def _refuse_functions(store: FeatureStore, names: Set[str]) -> None:
    """Raise InputError if the registry holds a function in one of these views: Feast runs it when it reads the view."""
    registry = store.registry.proto()
    computed = [one.spec for one in registry.on_demand_feature_views]
    stored = [one.spec for one in (*registry.feature_views, *registry.stream_feature_views)]
    for spec in (*computed, *filter(_has_function, stored)):
        if spec.project == store.project and spec.name in names:
            kind = "is of the kind on-demand feature view" if spec in computed else "has a transformation"
            raise InputError(
                f"feature view {spec.name!r} {kind}, and the service reads it. Training and serving read only stored "
                "values, and run no code of the registry. Write its values to a feature view."
            )


def _has_function(spec: Any) -> bool:
    """Whether the specification of a stored view, or of a view that it reads, holds a function."""
    fields = {field.name for field, _ in spec.ListFields()}
    return bool(fields & {"feature_transformation", "user_defined_function"}) or any(
        map(_has_function, getattr(spec, "source_views", ()))
    )


def _value(value: Any, is_stamp: bool) -> Any:
    if is_stamp and isinstance(value, int):
        return datetime.fromtimestamp(value, tz=UTC)
    return value
