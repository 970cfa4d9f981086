"""The values that a service reads online, beside those that training would read, and beside their dtypes."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from feast import FeatureStore

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.data.repository import service
from two_tower.errors import InputError
from two_tower.inputs import inputs_from_rows
from two_tower.releases.release import Release
from two_tower.schema import USER_SERVICE, Contract, Dtype, Feature

_MARGIN = timedelta(seconds=1)  # materialisation takes rows up to a second after its instant
_ROW = "two_tower_row"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Online:
    """A user's features online, and when each was stamped (None where it is not there)."""

    values: dict[str, Any]
    stamps: dict[str, datetime | None]


def _references(store: FeatureStore) -> list[str]:
    projections = service(store, USER_SERVICE).feature_view_projections
    return [f"{p.name_to_use()}:{f.name}" for p in projections for f in p.features]


def online_rows(store: FeatureStore, schema: Contract, users: Sequence[str | int]) -> list[Online]:
    """What the repository's online store has of each user, in their order."""
    asked = [{schema.user_key: user} for user in users]
    answer = store.get_online_features(_references(store), asked).to_dict(include_event_timestamps=True)
    found = []
    for i in range(len(users)):
        values = {f.name: _value(answer.get(f.name, [None] * len(users))[i], f) for f in schema.user}
        stamps = {f.name: _instant(answer.get(f"{f.name}__ts", [0] * len(users))[i]) for f in schema.user}
        found.append(Online(values, stamps))
    return found


def _instant(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds else None


def _value(value: Any, f: Feature) -> Any:
    if f.dtype == Dtype.TIMESTAMP and isinstance(value, int):
        return datetime.fromtimestamp(value, tz=UTC)
    return value


def _offline(
    store: FeatureStore, schema: Contract, users: Sequence[str | int], stamps: Sequence[datetime]
) -> list[Row]:
    """What training would read of each user as of an instant."""
    times = pa.array(stamps, pa.timestamp("us", tz="UTC")).to_pandas()
    asked = pd.DataFrame({schema.user_key: list(users), EVENT_TIMESTAMP: times, _ROW: np.arange(len(users))})
    found = store.get_historical_features(entity_df=asked, features=service(store, USER_SERVICE)).to_arrow()
    return list(found.take(pc.sort_indices(found[_ROW])).to_pylist())


def compare_values(
    store: FeatureStore,
    release: Release,
    users: Sequence[str | int],
    online: Sequence[Online],
    layers: dict[str, dict[str, int]],
) -> Iterator[str]:
    """Online values beside offline ones as of the release; one that is older, missing or other differs."""
    schema, at = release.contract, release.manifest.as_of + _MARGIN
    truth = _offline(store, schema, users, [at] * len(users))
    differ = [
        (i, f)
        for i, (row, true) in enumerate(zip(online, truth, strict=True))
        for f in schema.user
        if not _same(row.values[f.name], true.get(f.name))
    ]
    # What differs is read offline once more, as of its own stamp: then it is the same and only old, or it is another.
    own = {(i, row.stamps[f.name]) for i, f in differ if (row := online[i]).stamps[f.name]}
    pairs = sorted(own)
    then = _offline(store, schema, [users[i] for i, _ in pairs], [t + _MARGIN for _, t in pairs if t]) if pairs else []
    at_stamp = dict(zip(pairs, then, strict=True))
    wrong: Counter[tuple[str, str]] = Counter()
    for i, f in differ:
        stamp = online[i].stamps[f.name]
        if stamp is None or online[i].values[f.name] is None:
            wrong[f.name, "is missing online"] += 1
        elif _same(online[i].values[f.name], at_stamp[i, stamp].get(f.name)):
            if stamp < at - _MARGIN:
                wrong[f.name, "is stale online: an older row's value"] += 1
        elif not mistyped((f,), {f.name: online[i].values[f.name]}):
            wrong[f.name, "has another value online than training would read"] += 1
    layers["materialisation"] = {"compared": len(users) * len(schema.user), "differ": wrong.total()}
    for (name, what), count in wrong.most_common(3):
        yield (
            f"materialisation: feature {name!r} {what}, for {count} of {len(users)} users. Materialise into the store "
            "that is read, and look at when that last ran."
        )


def _same(one: Any, other: Any) -> bool:
    """Whether two raw values are one; a missing list is an empty one, and NaN is missing."""
    if isinstance(one, list) or isinstance(other, list):
        one, other = one or [], other or []
        return len(one) == len(other) and all(map(_same, one, other))
    one, other = (None if nan(value) else value for value in (one, other))
    if one is None or other is None:
        return one is other
    if isinstance(one, datetime) and isinstance(other, datetime):
        return abs((_utc(one) - _utc(other)).total_seconds()) < 1  # online stores keep whole seconds
    if {type(one), type(other)} <= {int, float}:
        return bool(np.isclose(one, other))
    return bool(one == other)


def nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def mistyped(features: Sequence[Feature], row: Row) -> str:
    """The name of the first feature whose value is not of its dtype, empty where all are."""
    for f in features:
        try:
            inputs_from_rows([row], (f,), np.zeros(1, dtype=np.int64))
        except InputError:
            return f.name
    return ""


def compare_types(schema: Contract, rows: Sequence[Row], layers: dict[str, dict[str, int]]) -> Iterator[str]:
    """Online values beside the dtypes of the towers' inputs."""
    wrong = Counter(name for row in rows if (name := mistyped(schema.user, row)))
    layers["type"] = {"compared": len(rows), "differ": wrong.total()}
    dtypes = {f.name: f.dtype for f in schema.user}
    for name, count in wrong.most_common(3):
        example = next(row[name] for row in rows if mistyped(schema.user, row) == name)
        yield (
            f"type: feature {name!r} is {example!r:.40} online, for {count} users; the tower was trained on "
            f"{dtypes[name]}. Apply the definitions that the release was trained with and materialise, or train again."
        )
