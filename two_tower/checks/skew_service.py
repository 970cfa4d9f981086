"""A live service beside the release that it is to serve: its embeddings, its store and its index."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.checks.skew_stores import Row, nan
from two_tower.deployment.smoke_test import as_json
from two_tower.errors import InputError
from two_tower.http_json import call
from two_tower.inputs import Array, table_from_rows
from two_tower.releases import item_index
from two_tower.releases.manifest import File
from two_tower.releases.release import Release
from two_tower.runtime import open_session
from two_tower.schema import EMBEDDING, MISSING_INT

K = 20
PATIENCE = 10.0  # seconds for an answer
TRIES = 5  # of a store that is late, before it counts as silent
_CLOSE = 1e-4  # of embeddings, and of scores, in their own units
_LEAST_OVERLAP = 0.95  # of the service's top k with the exact one; equal scores may change places


def served_release(address: str) -> str:
    """The release that a service says it has."""
    return str(_get(address, "GET", "/v2/models/user_tower")["versions"][0])


def _get(address: str, method: str, path: str, body: Any = None) -> Any:
    try:
        reply = call(method, address + path, body, timeout=PATIENCE)
    except OSError as error:
        raise InputError(f"no service answers at {address}: {error}. Start it, or correct the address.") from error
    if reply.status != 200:
        raise InputError(f"{address}{path} answers HTTP {reply.status}: {str(reply.body)[:200]}.")
    return reply.body


def compare_service(
    address: str,
    release: Release,
    users: Sequence[str | int],
    rows: Sequence[Row],
    layers: dict[str, dict[str, int]],
    served: str,
) -> Iterator[str]:
    """The service's embeddings, its store and its index, each beside the release; the first that differs ends it."""
    seconds = np.full(len(rows), int(release.manifest.as_of.timestamp()), dtype=np.int64)
    own = item_index.embed_users(
        release.folder, table_from_rows(rows, release.contract.user), release.contract, seconds
    )
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
    items = pq.read_table(release.path(File.ITEMS))
    k = max(1, min(K, items.num_rows // 4))  # of all items, any order is the same answer
    by_values = [_answer(address, {"features": as_json(row), "k": k, "exclude_seen": False}) for row in rows]
    by_id = [_by_id(address, user, k) for user in users]
    # Ages are counted from the request's own time, so that the service's answer is compared at that of the answer.
    now = np.full(len(rows), int(datetime.now(UTC).timestamp()), dtype=np.int64)
    live = item_index.embed_users(release.folder, table_from_rows(rows, release.contract.user), release.contract, now)
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
    session = open_session(release.path(File.USER_TOWER))
    table = table_from_rows(rows, release.contract.user)
    inputs = item_index.tower_inputs(session, table, release.contract.user, seconds)
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
    return None if value == MISSING_INT or nan(value) else value


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
    seconds = np.full(items.num_rows, int(release.manifest.as_of.timestamp()), dtype=np.int64)
    embedded = item_index.embed_items(release.folder, items, release.contract, seconds)
    metadata = open_session(release.path(File.ITEM_TOWER)).get_modelmeta().custom_metadata_map
    if metadata["similarity"] == "cosine":
        users, embedded = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-30) for v in (users, embedded))
    scores = users @ embedded.T
    if metadata["similarity"] == "euclidean":
        scores = 2 * scores - (embedded**2).sum(axis=1)
    ids = items[release.contract.item_key].to_pylist()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[ids[j] for j in row] for row in best.tolist()]


def _overlap(one: Sequence[Any], other: Sequence[Any]) -> float:
    return len(set(one) & set(other)) / max(1, len(other))
