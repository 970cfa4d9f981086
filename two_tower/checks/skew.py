"""Where training and serving part: the same users, asked of the offline store, the online store and the live service.

Four layers, each compared with the one before it, so that the first that differs is named and not its consequences:

materialisation   the online store's values beside those that training would read as of the same instant
type              the online store's values beside the dtypes that the towers were trained on
encoder           the service's embeddings beside the release's own tower on the same values
index             the service's answers beside an exact search over the release's own item embeddings

and between the last two `store`: a service that answers otherwise by a user's id than for the values that we read.
"""

import contextlib
import math
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast import FeatureStore

from two_tower.checks.replay import as_json
from two_tower.data import sources
from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.data.repository import apply, open_store, service, view
from two_tower.errors import InputError
from two_tower.gates import Verdict
from two_tower.http_json import call
from two_tower.inputs import Array, inputs_from_rows, table_from_rows
from two_tower.releases.release import ITEMS, current, local_copy, verify
from two_tower.retrieval import embed
from two_tower.runtime import open_session
from two_tower.schema import EMBEDDING, INTERACTIONS_VIEW, MISSING_INT, USER_SERVICE, Contract, Dtype, Feature

USERS, K = 100, 20
PATIENCE = 10.0  # seconds for an answer
TRIES = 5  # of a store that is late, before it counts as silent
_MARGIN = timedelta(seconds=1)  # materialisation takes rows up to a second after its instant
_CLOSE = 1e-4  # of embeddings, and of scores, in their own units
_LEAST_OVERLAP = 0.95  # of the service's top k with the exact one; equal scores may change places
_ROW = "two_tower_row"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Release:
    """What a release says of itself. folder: its files, on this machine."""

    folder: Path
    id: str
    contract: Contract
    as_of: datetime
    similarity: str

    @classmethod
    def of(cls, folder: Path, manifest: Mapping[str, Any]) -> "Release":
        metadata = open_session(folder / "item_tower.onnx").get_modelmeta().custom_metadata_map
        return cls(
            folder=folder,
            id=manifest["id"],
            contract=Contract.from_dict(manifest["contract"]),
            as_of=datetime.fromisoformat(manifest["bounds"]["as_of"]),
            similarity=metadata["similarity"],
        )


def check(repo: Path, release: Release, address: str, users: int = USERS) -> Verdict:
    """Compare the layers for the users who interacted last.

    repo: the feature repository that was trained on. address: of the service, such as http://localhost:8080.
    details: `layers`, by name how many users (or features) were compared and how many differ; `served`, the release
    that the service says it has. Raises InputError where the service does not answer.
    """
    layers: dict[str, dict[str, int]] = {}
    reasons: list[str] = []
    apply(repo)
    with contextlib.chdir(repo), sources.ibis_session():
        store = open_store(Path.cwd(), asof=True)
        asked = _newest_users(store, release, users)
        online = _online(store, release.contract, asked)
        reasons += _compare_values(store, release, asked, online, layers)
    rows = [
        {f.name: value for f in release.contract.user if (value := row.values[f.name]) is not None} for row in online
    ]
    reasons += _compare_types(release.contract, rows, layers)
    served = _served(address)
    typed = [i for i, row in enumerate(rows) if row and not _mistyped(release.contract.user, row)]
    if typed and not layers["type"]["differ"]:
        good = [rows[i] for i in typed]
        reasons += _compare_service(address, release, [asked[i] for i in typed], good, layers, served)
    return Verdict(
        gate="skew",
        passed=not reasons,
        reasons=tuple(reasons),
        details={"layers": layers, "release": release.id, "served": served, "users": len(asked)},
    )


def check_release(repo: Path, releases: str, release: str, address: str, users: int = USERS) -> Verdict:
    """`check` for a release by its id, or for the current one of a folder or an address of releases where it is empty.

    Raises InputError where there is none, too.
    """
    wanted = release or current(releases)
    if not wanted:
        raise InputError(f"no release of {releases} is active. Name one of `two-tower releases list`.")
    manifest = verify(releases, wanted)
    with tempfile.TemporaryDirectory(prefix="two-tower-") as cache:
        return check(repo, Release.of(local_copy(releases, wanted, Path(cache)), manifest), address, users)


@dataclass(frozen=True)
class _Online:
    """A user's features online, and when each was stamped (None where it is not there)."""

    values: dict[str, Any]
    stamps: dict[str, datetime | None]


def _newest_users(store: FeatureStore, release: Release, count: int) -> list[str | int]:
    source = view(store, INTERACTIONS_VIEW, "its users are asked for")
    table = sources.read(store, source, [release.contract.user_key], until=release.as_of)
    stamp = source.batch_source.timestamp_field
    order = pc.sort_indices(table, sort_keys=[(stamp, "descending")])
    newest = table[release.contract.user_key].take(order).unique().slice(0, count).to_pylist()
    if not newest:
        raise InputError(
            f"feature view {INTERACTIONS_VIEW!r} has no rows up to {release.as_of}; there is no user to ask for."
        )
    return newest


def _references(store: FeatureStore) -> list[str]:
    projections = service(store, USER_SERVICE).feature_view_projections
    return [f"{p.name_to_use()}:{f.name}" for p in projections for f in p.features]


def _online(store: FeatureStore, schema: Contract, users: Sequence[str | int]) -> list[_Online]:
    asked = [{schema.user_key: user} for user in users]
    answer = store.get_online_features(_references(store), asked).to_dict(include_event_timestamps=True)
    found = []
    for i in range(len(users)):
        values = {f.name: _value(answer.get(f.name, [None] * len(users))[i], f) for f in schema.user}
        stamps = {f.name: _instant(answer.get(f"{f.name}__ts", [0] * len(users))[i]) for f in schema.user}
        found.append(_Online(values, stamps))
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


def _compare_values(
    store: FeatureStore,
    release: Release,
    users: Sequence[str | int],
    online: Sequence[_Online],
    layers: dict[str, dict[str, int]],
) -> Iterator[str]:
    """Online values beside offline ones as of the release; one that is older, missing or other differs."""
    schema, at = release.contract, release.as_of + _MARGIN
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
        elif not _mistyped((f,), {f.name: online[i].values[f.name]}):
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
    one, other = (None if _nan(value) else value for value in (one, other))
    if one is None or other is None:
        return one is other
    if isinstance(one, datetime) and isinstance(other, datetime):
        return abs((_utc(one) - _utc(other)).total_seconds()) < 1  # online stores keep whole seconds
    if {type(one), type(other)} <= {int, float}:
        return bool(np.isclose(one, other))
    return bool(one == other)


def _nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _mistyped(features: Sequence[Feature], row: Row) -> str:
    """The name of the first feature whose value is not of its dtype, empty where all are."""
    for f in features:
        try:
            inputs_from_rows([row], (f,), np.zeros(1, dtype=np.int64))
        except InputError:
            return f.name
    return ""


def _compare_types(schema: Contract, rows: Sequence[Row], layers: dict[str, dict[str, int]]) -> Iterator[str]:
    wrong = Counter(name for row in rows if (name := _mistyped(schema.user, row)))
    layers["type"] = {"compared": len(rows), "differ": wrong.total()}
    dtypes = {f.name: f.dtype for f in schema.user}
    for name, count in wrong.most_common(3):
        example = next(row[name] for row in rows if _mistyped(schema.user, row) == name)
        yield (
            f"type: feature {name!r} is {example!r:.40} online, for {count} users; the tower was trained on "
            f"{dtypes[name]}. Apply the definitions that the release was trained with and materialise, or train again."
        )


def _served(address: str) -> str:
    return str(_get(address, "GET", "/v2/models/user_tower")["versions"][0])


def _get(address: str, method: str, path: str, body: Any = None) -> Any:
    try:
        reply = call(method, address + path, body, timeout=PATIENCE)
    except OSError as error:
        raise InputError(f"no service answers at {address}: {error}. Start it, or correct the address.") from error
    if reply.status != 200:
        raise InputError(f"{address}{path} answers HTTP {reply.status}: {str(reply.body)[:200]}.")
    return reply.body


def _compare_service(
    address: str,
    release: Release,
    users: Sequence[str | int],
    rows: Sequence[Row],
    layers: dict[str, dict[str, int]],
    served: str,
) -> Iterator[str]:
    seconds = np.full(len(rows), int(release.as_of.timestamp()), dtype=np.int64)
    own = embed.embed_users(release.folder, table_from_rows(rows, release.contract.user), release.contract, seconds)
    theirs = _embedded(address, release, rows, seconds)
    apart = np.abs(own - theirs).max(axis=1) > _CLOSE if own.shape == theirs.shape else np.ones(len(rows), dtype=bool)
    layers["encoder"] = {"compared": len(rows), "differ": int(apart.sum())}
    if apart.any():
        other = f" It serves release {served}, not {release.id}." if served != release.id else ""
        yield (
            f"encoder: the service embeds {int(apart.sum())} of {len(rows)} users otherwise than the release's tower "
            f"on the same values.{other} Activate the release that was meant."
        )
        return
    items = pq.read_table(release.folder / ITEMS)
    k = max(1, min(K, items.num_rows // 4))  # of all items, any order is the same answer
    by_values = [_answer(address, {"features": as_json(row), "k": k, "exclude_seen": False}) for row in rows]
    by_id = [_by_id(address, user, k) for user in users]
    # Ages are counted from the request's own time, so that the service's answer is compared at that of the answer.
    now = np.full(len(rows), int(datetime.now(UTC).timestamp()), dtype=np.int64)
    live = embed.embed_users(release.folder, table_from_rows(rows, release.contract.user), release.contract, now)
    exact = _exact(release, live, items, k)
    silent = sum(items is None for items in by_id)
    pairs = [(one, two) for one, two in zip(by_id, by_values, strict=True) if one is not None]
    other_store = sum(_overlap(one, two) < _LEAST_OVERLAP for one, two in pairs)
    layers["store"] = {"compared": len(rows), "differ": silent + other_store}
    if silent:
        yield (
            f"store: of {silent} of {len(rows)} users the service got no answer from its online store in time, "
            f"{TRIES} times over. Look at the store, and at the service's log."
        )
    if other_store:
        yield (
            f"store: by id the service answers {other_store} of {len(rows)} users otherwise than for the values that "
            "the repository's online store has of them. It reads another store, or none: see its feature_store.yaml."
        )
    overlaps = [_overlap(one, two) for one, two in zip(by_values, exact, strict=True)]
    poor = sum(overlap < _LEAST_OVERLAP for overlap in overlaps)
    layers["index"] = {"compared": len(rows), "differ": poor}
    if poor:
        yield (
            f"index: for {poor} of {len(rows)} users the service's best {k} items are not those of an exact search "
            f"over the release's item embeddings (on average {np.mean(overlaps):.0%} of them). Its index is of other "
            "embeddings, or side items replace them: index again and publish."
        )


def _embedded(address: str, release: Release, rows: Sequence[Row], seconds: Array) -> Array:
    """The service's embeddings of raw values, float32 [rows, dim], by the Open Inference Protocol."""
    session = open_session(release.folder / "user_tower.onnx")
    table = table_from_rows(rows, release.contract.user)
    inputs = embed.tower_inputs(session, table, release.contract.user, seconds)
    kinds = {"O": "BYTES", "i": "INT64", "f": "FP32"}
    tensors = [
        {
            "name": n,
            "datatype": kinds[a.dtype.kind],
            "shape": list(a.shape),
            "data": [_plain(v) for v in a.ravel().tolist()],
        }
        for n, a in inputs.items()
        if n in {given.name for given in session.get_inputs()}
    ]
    answer = _get(address, "POST", "/v2/models/user_tower/infer", {"inputs": tensors})
    (output,) = (one for one in answer["outputs"] if one["name"] == EMBEDDING)
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def _plain(value: Any) -> Any:
    return None if value == MISSING_INT or _nan(value) else value


def _by_id(address: str, user: str | int, k: int) -> list[Any] | None:
    """The answer for a user as the service's own store knows him; None where that store stays silent."""
    for _ in range(TRIES):
        reply = _get(address, "POST", "/v1/recommend", {"user_id": user, "k": k, "exclude_seen": False})
        if reply["fallback"] != "store":
            return [item["item_id"] for item in reply["items"]]
    return None


def _answer(address: str, question: Mapping[str, Any]) -> list[Any]:
    return [item["item_id"] for item in _get(address, "POST", "/v1/recommend", question)["items"]]


def _exact(release: Release, users: Array, items: pa.Table, k: int) -> list[list[Any]]:
    """The best k items of each user by the release's own embeddings, all of them compared."""
    seconds = np.full(items.num_rows, int(release.as_of.timestamp()), dtype=np.int64)
    embedded = embed.embed_items(release.folder, items, release.contract, seconds)
    if release.similarity == "cosine":
        users, embedded = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30) for v in (users, embedded))
    scores = users @ embedded.T
    if release.similarity == "euclidean":
        scores = 2 * scores - (embedded**2).sum(axis=1)
    ids = items[release.contract.item_key].to_pylist()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[ids[j] for j in row] for row in best.tolist()]


def _overlap(one: Sequence[Any], other: Sequence[Any]) -> float:
    return len(set(one) & set(other)) / max(1, len(other))
