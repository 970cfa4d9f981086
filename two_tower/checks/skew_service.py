"""Compare a live service with the release that it should serve: embeddings, online store and index."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from two_tower.checks.skew_stores import Row
from two_tower.data.feature_values import is_missing
from two_tower.deployment.service_questions import as_json
from two_tower.errors import InputError
from two_tower.http_json import call
from two_tower.inputs import Array, table_from_rows
from two_tower.releases import item_index
from two_tower.releases.manifest import File
from two_tower.releases.release import Release
from two_tower.runtime import open_session
from two_tower.schema import EMBEDDING, MISSING_INT

K = 20
PATIENCE = 10.0  # timeout of a request in seconds
TRIES = 5  # attempts to get a response from the online store
_CLOSE = 1e-4  # the tolerance for elements of embeddings
_LEAST_OVERLAP = 0.95  # minimum overlap of the service's top k with the exact top k; ties may change the order


def served_release(address: str) -> str:
    """Return the id of the release that a service reports.

    Args:
        address: The address of the service.

    Returns:
        The id of the release.

    Raises:
        InputError: If the service does not respond, or responds with an error.
    """
    return str(_get(address, "GET", "/v2/models/user_tower")["versions"][0])


def _get(address: str, method: str, path: str, body: Any = None) -> Any:
    try:
        response = call(method, address + path, body, timeout=PATIENCE)
    except OSError as error:
        raise InputError(
            f"the service at {address} does not respond: {error}. Start the service, or correct the address."
        ) from error
    if response.status != 200:
        raise InputError(
            f"{address}{path} responded with HTTP {response.status}: {str(response.body)[:200]}. Check the log of the "
            "service."
        )
    return response.body


def compare_service(
    address: str,
    release: Release,
    users: Sequence[str | int],
    rows: Sequence[Row],
    layers: dict[str, dict[str, int]],
    served: str,
) -> Iterator[str]:
    """Compare the embeddings, the online store and the index of the service with the release.

    Args:
        address: The address of the service.
        release: The release that the service should serve.
        users: The ids of the users.
        rows: The values of the repository's online store for each user.
        layers: The function adds the numbers of compared and of different users of each layer.
        served: The release that the service reports.

    Yields:
        One sentence per layer that differs. If the embeddings differ, the other layers are not compared.
    """
    seconds = np.full(len(rows), int(release.manifest.as_of.timestamp()), dtype=np.int64)
    own = item_index.embed_users(
        release.folder, table_from_rows(rows, release.contract.user), release.contract, seconds
    )
    service = _embed(address, release, rows, seconds)
    same_shape = own.shape == service.shape
    differ = np.abs(own - service).max(axis=1) > _CLOSE if same_shape else np.ones(len(rows), dtype=bool)
    layers["encoder"] = {"compared": len(rows), "differ": int(differ.sum())}
    if differ.any():
        other = f" It serves release {served}, not {release.id}." if served != release.id else ""
        yield (
            f"encoder: for {int(differ.sum())} of {len(rows)} users, the embeddings of the service differ from those "
            f"of the release's tower for the same values.{other} Activate the right release."
        )
        return
    items = pq.read_table(release.path(File.ITEMS))
    k = max(1, min(K, items.num_rows // 4))  # with k = all items, every index would have the same result
    by_values = [_recommend(address, {"features": as_json(row), "k": k, "exclude_seen": False}) for row in rows]
    by_id = [_recommend_by_id(address, user, k) for user in users]
    # The service computes ages from the time of the request, so the exact search must use the same time.
    now = np.full(len(rows), int(datetime.now(UTC).timestamp()), dtype=np.int64)
    live = item_index.embed_users(release.folder, table_from_rows(rows, release.contract.user), release.contract, now)
    exact = _exact(release, live, items, k)
    timeouts = sum(items is None for items in by_id)
    pairs = [(a, b) for a, b in zip(by_id, by_values, strict=True) if a is not None]
    other_store = sum(_overlap(a, b) < _LEAST_OVERLAP for a, b in pairs)
    layers["store"] = {"compared": len(rows), "differ": timeouts + other_store}
    if timeouts:
        yield (
            f"store: for {timeouts} of {len(rows)} users, the online store did not respond to the service in time in "
            f"{TRIES} attempts. Check the store and the log of the service."
        )
    if other_store:
        yield (
            f"store: for {other_store} of {len(rows)} users, the response for the user id differs from the response "
            "for the values that the repository's online store has. The service reads another store, or none: check "
            "its feature_store.yaml."
        )
    overlaps = [_overlap(a, b) for a, b in zip(by_values, exact, strict=True)]
    poor = sum(overlap < _LEAST_OVERLAP for overlap in overlaps)
    layers["index"] = {"compared": len(rows), "differ": poor}
    if poor:
        yield (
            f"index: for {poor} of {len(rows)} users, the top {k} items of the service differ from those of an exact "
            f"search over the release's item embeddings (average overlap {np.mean(overlaps):.0%}). The index has other "
            "embeddings, or side items replace them: build the index again and publish."
        )


def _embed(address: str, release: Release, rows: Sequence[Row], seconds: Array) -> Array:
    """Request the embeddings of raw values by the Open Inference Protocol; (rows, dim) float32."""
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
        if n in {i.name for i in session.get_inputs()}
    ]
    response = _get(address, "POST", "/v2/models/user_tower/infer", {"inputs": tensors})
    (output,) = (o for o in response["outputs"] if o["name"] == EMBEDDING)
    return np.array(output["data"], dtype=np.float32).reshape(output["shape"])


def _plain(value: Any) -> Any:
    return None if value == MISSING_INT or is_missing(value) else value


def _recommend_by_id(address: str, user: str | int, k: int) -> list[Any] | None:
    """Request recommendations for a user id; None if the online store of the service does not respond in time."""
    for _ in range(TRIES):
        response = _get(address, "POST", "/v1/recommend", {"user_id": user, "k": k, "exclude_seen": False})
        if response["fallback"] != "store":
            return [item["item_id"] for item in response["items"]]
    return None


def _recommend(address: str, request: Mapping[str, Any]) -> list[Any]:
    return [item["item_id"] for item in _get(address, "POST", "/v1/recommend", request)["items"]]


def _exact(release: Release, users: Array, items: pa.Table, k: int) -> list[list[Any]]:
    """Return the top k items of each user by an exact search over the release's item embeddings."""
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


def _overlap(a: Sequence[Any], b: Sequence[Any]) -> float:
    return len(set(a) & set(b)) / max(1, len(b))
