"""Compare the values of the online store with the values that training would read, and with their dtypes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from feast import FeatureStore

from two_tower.data.feature_values import same_value
from two_tower.data.historical import historical_features
from two_tower.data.online import online_request
from two_tower.data.sources import cast
from two_tower.errors import InputError
from two_tower.inputs import inputs_from_rows
from two_tower.releases.release import Release
from two_tower.schema import USER_SERVICE, Contract, Dtype, Feature

_SECOND = timedelta(seconds=1)
_MARGIN = timedelta(seconds=1)  # materialisation writes rows up to one second after its time

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Online:
    """The features of a user in the online store.

    Attributes:
        values: Feature → value.
        stamps: Feature → timestamp of its row. None if the store does not have the feature.
        ttls: Feature → ttl of its view, if it has one.
    """

    values: dict[str, Any]
    stamps: dict[str, datetime | None]
    ttls: dict[str, timedelta]

    def values_at(self, time: datetime) -> dict[str, Any]:
        """Return the values that a request at a time gets: None if the row is older than the ttl of its view."""
        return {name: None if self._expired(name, time) else value for name, value in self.values.items()}

    def _expired(self, name: str, time: datetime) -> bool:
        stamp = self.stamps[name]  # in whole seconds
        return name in self.ttls and stamp is not None and stamp + _SECOND <= time - self.ttls[name]


def online_rows(store: FeatureStore, schema: Contract, users: Sequence[str | int]) -> list[Online]:
    """Read the features of users from the online store of the repository.

    Args:
        store: The feature store.
        schema: The feature contract.
        users: The ids of the users.

    Returns:
        The features of each user, in the order of `users`.
    """
    request = online_request(store, schema)
    entities = [dict.fromkeys(request.keys, user) for user in users]
    columns = store.get_online_features(list(request.references), entities).to_dict(include_event_timestamps=True)
    rows = []
    for i in range(len(users)):
        values = {f.name: _value(columns.get(f.name, [None] * len(users))[i], f) for f in schema.user}
        stamps = {f.name: _instant(columns.get(f"{f.name}__ts", [0] * len(users))[i]) for f in schema.user}
        rows.append(Online(values, stamps, request.ttls))
    return rows


def _instant(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds else None


def _value(value: Any, f: Feature) -> Any:
    if f.dtype == Dtype.TIMESTAMP and isinstance(value, int):
        return datetime.fromtimestamp(value, tz=UTC)
    return value


def _offline(
    store: FeatureStore, schema: Contract, users: Sequence[str | int], stamps: Sequence[datetime]
) -> list[Row]:
    """Return the values that training would read for each (user, time)."""
    times = pa.array(stamps, pa.timestamp("us", tz="UTC"))
    joined = historical_features(store, USER_SERVICE, schema.user_key, pa.array(users), times)
    columns = {f.name: cast(joined[f.name], f.name, f.dtype) for f in schema.user}
    return list(pa.table(columns).to_pylist())


def compare_values(
    store: FeatureStore,
    release: Release,
    users: Sequence[str | int],
    online: Sequence[Online],
    layers: dict[str, dict[str, int]],
) -> Iterator[str]:
    """Compare online values with offline values at the time of the release.

    Args:
        store: The feature store of the repository.
        release: The release.
        users: The ids of the users.
        online: The online features of each user.
        layers: The function adds the numbers of compared and of different values.

    Yields:
        One sentence for each of the three most frequent differences: a value is missing, stale, or different.
    """
    schema, at = release.contract, release.manifest.as_of + _MARGIN
    truth = _offline(store, schema, users, [at] * len(users))
    values = [row.values_at(at) for row in online]
    differ = [
        (i, f)
        for i, (row, true) in enumerate(zip(values, truth, strict=True))
        for f in schema.user
        if not same_value(row[f.name], true.get(f.name))
    ]
    # Read a different value offline again, at the timestamp of its online row: if equal, the online row is only stale.
    pairs = sorted({(i, row.stamps[f.name]) for i, f in differ if (row := online[i]).stamps[f.name]})
    then = _offline(store, schema, [users[i] for i, _ in pairs], [t + _MARGIN for _, t in pairs if t]) if pairs else []
    at_stamp = dict(zip(pairs, then, strict=True))
    wrong: Counter[tuple[str, str]] = Counter()
    for i, f in differ:
        stamp = online[i].stamps[f.name]
        if stamp is None or values[i][f.name] is None:
            wrong[f.name, "is missing online"] += 1
        elif same_value(values[i][f.name], at_stamp[i, stamp].get(f.name)):
            if stamp < at - _MARGIN:
                wrong[f.name, "is stale online: it has the value of an older row"] += 1
        elif not mistyped((f,), {f.name: values[i][f.name]}):
            wrong[f.name, "has a different value online than in training"] += 1
    layers["materialisation"] = {"compared": len(users) * len(schema.user), "differ": wrong.total()}
    for (name, difference), count in wrong.most_common(3):
        yield (
            f"materialisation: feature {name!r} {difference}, for {count} of {len(users)} users. Materialise into the "
            "store that the service reads, and check when materialisation last ran."
        )


def mistyped(features: Sequence[Feature], row: Row) -> str:
    """Return the name of the first feature with a value of the wrong type, or "" if all types are right.

    Args:
        features: The features to check.
        row: Feature → value.

    Returns:
        The name of a feature, or "".
    """
    for f in features:
        try:
            inputs_from_rows([row], (f,), np.zeros(1, dtype=np.int64))
        except InputError:
            return f.name
    return ""


def compare_types(schema: Contract, rows: Sequence[Row], layers: dict[str, dict[str, int]]) -> Iterator[str]:
    """Compare online values with the dtypes of the tower's inputs.

    Args:
        schema: The feature contract of the release.
        rows: The online values of each user.
        layers: The function adds the numbers of compared and of different users.

    Yields:
        One sentence for each of the three features with the most values of a wrong type.
    """
    wrong = Counter(name for row in rows if (name := mistyped(schema.user, row)))
    layers["type"] = {"compared": len(rows), "differ": wrong.total()}
    dtypes = {f.name: f.dtype for f in schema.user}
    for name, count in wrong.most_common(3):
        example = next(row[name] for row in rows if mistyped(schema.user, row) == name)
        yield (
            f"type: feature {name!r} is {example!r:.40} online, for {count} users; the tower was trained on "
            f"{dtypes[name]}. Apply the definitions of the training run and materialise, or train again."
        )
