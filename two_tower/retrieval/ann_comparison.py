"""Exact or approximate? Measured on this catalogue and machine when the index is built, and kept in the release."""

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
SECONDS = 0.3  # of measuring each point of the curve
GRAPH_UP_TO = 100_000  # items; above, a graph takes minutes to build, and inverted lists stand in
MOST = 5_000_000  # items; above, no approximate index is built only to be compared
RECALL, LATENCY = 0.99, 0.5  # what an approximate index must reach, and in which share of the exact one's time


def measure(items: Array, similarity: Similarity, path: Path) -> dict[str, Any]:
    """The curve of recall over latency of one query on one core, and what follows from it.

    items: float32 [n, dim], of which the exact index at `path` was built. Returns `curve` (points with `index`,
    `setting`, `recall@100` and `milliseconds`), `winner` (`exact`, unless an approximate index finds 99 % of the exact
    answer in half the time), `items` and `note` (what could not be measured, and why). Queries are items with noise.
    """
    exact = Index(path, threads=1)
    k = min(K, len(items))
    queries = _queries(items)
    truth = exact.search(queries, k)[0]
    curve = [_point("exact", "", lambda q: exact.search(q, k)[0], queries, truth)]
    note = ""
    if len(items) > MOST:
        note = f"no approximate index was built: the catalogue has more than {MOST:,} items"
    else:
        try:
            curve += [_point(*one, queries, truth) for one in _approximate(items, similarity, k)]
        except ImportError:
            note = "no approximate index was measured: FAISS is not installed (extra `bench`)"
    good = [
        p for p in curve[1:] if p["recall@100"] >= RECALL and p["milliseconds"] <= LATENCY * curve[0]["milliseconds"]
    ]
    winner = min(good, key=lambda p: p["milliseconds"])["index"] if good else "exact"
    return {"winner": winner, "items": len(items), "curve": curve, "note": note}


def write(items: Array, similarity: Similarity, path: Path, file: Path) -> None:
    """Measure, and write the outcome as JSON."""
    file.write_text(json.dumps(measure(items, similarity, path), indent=1))


def _queries(items: Array) -> Array:
    rng = np.random.default_rng(0)
    near = items[rng.integers(0, len(items), QUERIES)]
    return (near + 0.1 * near.std() * rng.standard_normal(near.shape)).astype(np.float32)


def _approximate(items: Array, similarity: Similarity, k: int) -> Iterator[tuple[str, str, Callable[[Array], Array]]]:
    """FAISS HNSW (Malkov and Yashunin, arXiv:1603.09320), or IVF for more items, over its setting."""
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it reports each processor it has no build for
    import faiss

    found: Any
    metric = faiss.METRIC_L2 if similarity == "euclidean" else faiss.METRIC_INNER_PRODUCT
    if similarity == "cosine":
        items = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-30)
    threads = faiss.omp_get_max_threads()
    if len(items) <= GRAPH_UP_TO:
        name, setting, values = "HNSW", "efSearch", (128, 256, 512)
        found = faiss.IndexHNSWFlat(items.shape[1], 32, metric)
    else:
        name, setting, values = "IVF", "nprobe", (8, 32, 128)
        lists = int(4 * np.sqrt(len(items)))
        found = faiss.index_factory(items.shape[1], f"IVF{lists},Flat", metric)
        found.train(items[: 40 * lists])
    found.add(np.ascontiguousarray(items))
    try:
        faiss.omp_set_num_threads(1)
        for value in values:
            faiss.ParameterSpace().set_index_parameter(found, setting, value)
            yield name, f"{setting}={value}", lambda q: found.search(q, k)[1]
    finally:
        faiss.omp_set_num_threads(threads)


def _point(name: str, setting: str, search: Callable[[Array], Array], queries: Array, truth: Array) -> dict[str, Any]:
    rows = np.concatenate([search(query[None]) for query in queries])
    recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])
    taken: list[float] = []
    while sum(taken) < SECONDS and len(taken) < 4 * QUERIES:
        query = queries[len(taken) % QUERIES][None]
        began = time.perf_counter()
        search(query)
        taken.append(time.perf_counter() - began)
    return {
        "index": name,
        "setting": setting,
        "recall@100": round(float(recall), 4),
        "milliseconds": round(1e3 * float(np.median(taken)), 4),
    }
