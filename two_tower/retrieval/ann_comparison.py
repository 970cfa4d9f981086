"""Comparison of the exact index with approximate ones (ANN), measured on this catalogue and machine at build time.

The release keeps the result.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from two_tower.inputs import Array
from two_tower.retrieval.index import Index
from two_tower.retrieval.index_graph import Similarity

K = 100
QUERIES = 64
SECONDS = 0.3  # time to measure each point of the curve
GRAPH_UP_TO = 100_000  # items; a larger HNSW graph takes minutes to build, so IVF replaces it
MOST = 5_000_000  # items; a larger catalogue gets no approximate index for the comparison
RECALL, LATENCY = 0.99, 0.5  # minimum recall of an approximate index, and maximum latency relative to the exact one


def measure(items: Array, similarity: Similarity, path: Path, users: Array | None = None) -> dict[str, Any]:
    """Measure recall and latency of the exact index and of approximate ones, one query at a time on one core.

    Args:
        items: Item embeddings, `(n, dim) float32`.
        similarity: Similarity of the index.
        path: File of the exact index of these items.
        users: Embeddings of users, `(users, dim) float32`; up to QUERIES of them are the queries. Default: items with
            noise, which lie nearer to the items than users do, so that an approximate index looks better.

    Returns:
        `curve`: points with `index`, `setting`, `recall@100` and `milliseconds`; `winner`: `exact`, unless an
        approximate index finds 99 % of the exact results in half the time; `items`: their number; `queries`: `users` or
        `items`; `note`: the reason if something was not measured, or empty.
    """
    exact = Index(path, threads=1)
    k = min(K, len(items))
    queries = _near_items(items) if users is None else users[:QUERIES]
    truth = exact.search(queries, k)[0]
    curve = [_point("exact", "", lambda q: exact.search(q, k)[0], queries, truth)]
    note = ""
    if len(items) > MOST:
        note = f"no approximate index was built: the catalogue has more than {MOST:,} items"
    else:
        try:
            curve += [_point(*index, queries, truth) for index in _approximate(items, similarity, k)]
        except ImportError:
            note = "no approximate index was measured: FAISS is not installed (extra `bench`)"
    good = [
        p for p in curve[1:] if p["recall@100"] >= RECALL and p["milliseconds"] <= LATENCY * curve[0]["milliseconds"]
    ]
    winner = min(good, key=lambda p: p["milliseconds"])["index"] if good else "exact"
    source = "items" if users is None else "users"
    return {"winner": winner, "items": len(items), "queries": source, "curve": curve, "note": note}


def write(items: Array, similarity: Similarity, path: Path, file: Path, users: Array | None = None) -> None:
    """Write the result of `measure` to `file` as JSON; the other arguments are those of `measure`."""
    file.write_text(json.dumps(measure(items, similarity, path, users), indent=1))


def _near_items(items: Array) -> Array:
    rng = np.random.default_rng(0)
    near = items[rng.integers(0, len(items), QUERIES)]
    return (near + 0.1 * near.std() * rng.standard_normal(near.shape)).astype(np.float32)


def _approximate(items: Array, similarity: Similarity, k: int) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    """FAISS HNSW (Malkov and Yashunin, arXiv:1603.09320), or IVF for more items, at several settings."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it logs each processor type that it has no build for
    import faiss

    index: Any
    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if similarity == "cosine":
        items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-30)
    threads = faiss.omp_get_max_threads()
    if len(items) <= GRAPH_UP_TO:
        name, setting, values = "HNSW", "efSearch", (128, 256, 512)
        index = faiss.IndexHNSWFlat(items.shape[1], 32, metric)
    else:
        name, setting, values = "IVF", "nprobe", (8, 32, 128)
        lists = int(4 * np.sqrt(len(items)))
        index = faiss.index_factory(items.shape[1], f"IVF{lists},Flat", metric)
        index.train(items[: 40 * lists])
    index.add(np.ascontiguousarray(items))
    try:
        faiss.omp_set_num_threads(1)
        for value in values:
            faiss.ParameterSpace().set_index_parameter(index, setting, value)
            yield name, f"{setting}={value}", lambda q: index.search(q, k)[1]
    finally:
        faiss.omp_set_num_threads(threads)


def _point(name: str, setting: str, search: Callable[[Array], Array], queries: Array, truth: Array) -> dict[str, Any]:
    rows = np.concatenate([search(query[None]) for query in queries])
    recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])
    durations: list[float] = []
    while sum(durations) < SECONDS and len(durations) < 4 * len(queries):
        query = queries[len(durations) % len(queries)][None]
        start = time.perf_counter()
        search(query)
        durations.append(time.perf_counter() - start)
    return {
        "index": name,
        "setting": setting,
        "recall@100": round(float(recall), 4),
        "milliseconds": round(1e3 * float(np.median(durations)), 4),
    }
