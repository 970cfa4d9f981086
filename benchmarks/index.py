"""Exact retrieval compared with FAISS, numpy and the time to read the int8 codes.

    python -m benchmarks.index --items N --dim D

The items are unit vectors in clusters with the spread `--noise`; queries come from the same distribution. `--noise 0`
generates items without structure, the worst case for the codes. The calls are timed in turns. The ratios compare the
minimum times, which are those without other load on the machine, each side at its best number of threads. Both sides
use huge pages, as in the serving image.

With `--device cuda` our index runs on the GPU. The peers are then FAISS on the CPU; the obvious torch code on the same
GPU, that is a float32 matrix product and a topk; and one read of the float16 table in GPU memory.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import alternate, arguments, finish, machine, progress
from two_tower.retrieval.index import Index, build
from two_tower.runtime import Device

K = 100
BATCH = 32
QUERIES = 128
HNSW_UP_TO = 1_000_000  # items; with more, building the graph takes longer than the rest of the benchmark
FILTERS = (0.5, 0.01, 0.0001)
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # read when a process starts


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=1_000_000, help="Number of items.")
    parser.add_argument("--dim", type=int, default=64, help="Dimensions of a vector.")
    parser.add_argument(
        "--noise", type=float, default=0.5, help="Spread of the items around their cluster centre. 0: no clusters."
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="Device of our index.")
    args = parser.parse_args()
    if "GLIBC_TUNABLES" not in os.environ:
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.index", *sys.argv[1:]], {**os.environ, **HUGE_PAGES}
        )
    count, seconds = (min(args.items, 30_000), 0.1) if args.quick else (args.items, 4.0)
    machine_info = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-index-") as folder:
        rows, claims = measure(count, args.dim, args.noise, args.device, seconds, Path(folder))
    finish(rows, claims, machine_info | {"load_after": round(os.getloadavg()[0], 2)}, args.json)


def vectors(count: int, dim: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Generate unit vectors: items `(count, dim)` and queries `(QUERIES, dim)`, float32."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((1000, dim), dtype=np.float32)

    def drawn(n: int) -> np.ndarray:
        spread = rng.standard_normal((n, dim), dtype=np.float32)
        near = centres[rng.integers(0, 1000, n)] + np.float32(noise) * spread if noise else spread
        return near / np.linalg.norm(near, axis=1, keepdims=True)

    return drawn(count), drawn(QUERIES)


def measure(
    count: int, dim: int, noise: float, device: Device, seconds: float, folder: Path
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    progress(f"{count:,} items of {dim} dimensions")
    items, queries = vectors(count, dim, noise)
    build(items, "dot", "benchmark", folder / "index.onnx")
    cores = len(os.sched_getaffinity(0))
    before = _resident()
    ways = {f"{n} threads": n for n in sorted({1, cores})} if device == "cpu" else {"cuda": None}
    indexes = {way: Index(folder / "index.onnx", device, threads) for way, threads in ways.items()}
    ours = indexes[list(ways)[-1]]
    resident = (_resident() - before) / len(indexes)
    progress("index built; computing the exact answers with numpy")
    truth = _truth(items, queries)
    singles: dict[str, Callable[[], object]] = {}
    batches: dict[str, Callable[[], object]] = {}
    next_queries = _cycle(queries)
    for way, index in indexes.items():
        singles[f"ours, {way}"] = lambda index=index: index.search(next_queries(1), K)
        batches[f"ours, {way}"] = lambda index=index: index.search(next_queries(BATCH), K)
    recalls = {"ours": _recall(np.concatenate([ours.search(q[None], K)[0] for q in queries]), truth)}
    recalls["ours"] = min(recalls["ours"], _recall(ours.search(queries, K)[0], truth))
    for name, (search, batched) in _faiss(items, cores, recalls, queries, truth).items():
        singles[name] = lambda search=search: search(next_queries(1))
        if batched:
            batches[name] = lambda search=search: search(next_queries(BATCH))
    singles["numpy"] = lambda: _top(items @ next_queries(1)[0])
    batches["numpy"] = lambda: _top(next_queries(BATCH) @ items.T)
    if device == "cpu":
        # Written first: untouched memory maps to one page of zeros, which the cache would serve.
        codes = np.arange(count * dim // 8, dtype=np.int64)
        for threads in sorted({1, cores}):
            singles[f"read int8, {threads} threads"] = _reader(codes, threads)
    else:
        search, singles["read float16, cuda"] = _torch(items)
        singles["torch, cuda"] = lambda: search(next_queries(1))
        batches["torch, cuda"] = lambda: search(next_queries(BATCH))
        recalls["torch"] = _recall(search(queries), truth)
    rng = np.random.default_rng(1)
    for share in FILTERS:
        mask = rng.random(count) < share
        singles[f"ours, filter keeps {share:.2%}"] = lambda mask=mask: ours.search(next_queries(1), K, allowed=mask)
    progress("one query")
    single = alternate(singles, seconds)
    progress(f"{BATCH} queries")
    batch = alternate(batches, seconds)
    rows = [_row("1", name, durations, recalls) for name, durations in single.items()]
    rows += [_row(str(BATCH), name, durations, recalls) for name, durations in batch.items()]
    best, best_batch = (min(_best(durations, f"ours, {way}") for way in ways) for durations in (single, batch))
    claims = {
        "recall@100": recalls["ours"],
        "single_ratio_vs_faiss_flat": best / _best(single, "FAISS flat"),
        "single_ratio_vs_memory_read": best / _best(single, "read "),
        "batch32_ratio_vs_faiss_flat": best_batch / _best(batch, "FAISS flat"),
        "bytes_per_item": sum(path.stat().st_size for path in folder.iterdir()) / count,
        "resident_bytes_per_item": resident / count,
    }
    if device == "cuda":
        claims["single_ratio_vs_torch_cuda"] = best / _best(single, "torch, cuda")
        claims["batch32_ratio_vs_torch_cuda"] = best_batch / _best(batch, "torch, cuda")
    return rows, claims


def _faiss(
    items: np.ndarray, cores: int, recalls: dict[str, float], queries: np.ndarray, truth: np.ndarray
) -> dict[str, tuple[Callable[[np.ndarray], object], bool]]:
    """Build the FAISS peers. Returns by name the search function, and whether it is timed with batches too."""
    try:
        import faiss
    except ImportError:
        sys.exit("FAISS is not installed. Install the extra `bench`: pip install 'two-tower[bench]'.")
    flat = faiss.IndexFlatIP(items.shape[1])
    flat.add(items)
    recalls["FAISS flat"] = _recall(flat.search(queries, K)[1], truth)

    def with_threads(index: Any, threads: int) -> Callable[[np.ndarray], object]:
        def search(batch: np.ndarray) -> object:
            faiss.omp_set_num_threads(threads)
            return index.search(batch, K)

        return search

    peers = {f"FAISS flat, {n} threads": (with_threads(flat, n), True) for n in sorted({1, cores})}
    if len(items) > HNSW_UP_TO:
        progress(f"FAISS HNSW is skipped: building it takes too long above {HNSW_UP_TO:,} items")
        return peers
    progress("building FAISS HNSW (M 32, efConstruction 40)")
    faiss.omp_set_num_threads(cores)
    graph = faiss.IndexHNSWFlat(items.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = 256
    graph.add(items)
    recalls["FAISS HNSW"] = _recall(graph.search(queries, K)[1], truth)
    return peers | {"FAISS HNSW, efSearch 256": (with_threads(graph, 1), True)}


def _reader(codes: np.ndarray, threads: int) -> Callable[[], object]:
    """Return a call that reads as many bytes as the int8 codes of all items once."""
    parts, pool = np.array_split(codes, threads), ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.bitwise_xor.reduce, parts))


def _torch(items: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[], object]]:
    """Return two calls on the GPU: top-K search in torch, numpy to numpy; one read of the size of float16 items."""
    import torch

    table = torch.from_numpy(items).cuda()
    halves = table.half().view(torch.int64)

    def search(batch: np.ndarray) -> np.ndarray:
        return (torch.from_numpy(batch).cuda() @ table.T).topk(K).indices.cpu().numpy()

    return search, lambda: halves.sum().item()


def _cycle(queries: np.ndarray) -> Callable[[int], np.ndarray]:
    place = 0

    def next_queries(n: int) -> np.ndarray:
        nonlocal place
        place = (place + n) % (QUERIES - n + 1)
        return queries[place : place + n]

    return next_queries


def _top(scores: np.ndarray) -> np.ndarray:
    """Return the indices of the K largest values along the last axis, largest first."""
    top = np.argpartition(scores, -K, axis=-1)[..., -K:]
    return np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, -1), axis=-1), -1)


def _truth(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Compute the exact top K rows of each query with numpy, int64 `(QUERIES, K)`."""
    return np.stack([_top(items @ query) for query in queries])


def _recall(rows: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(rows.tolist(), truth.tolist(), strict=True)]))


def _best(durations: dict[str, list[float]], start: str) -> float:
    """Return the minimum time over the calls whose name starts with `start`."""
    return min(min(all_) for name, all_ in durations.items() if name.startswith(start))


def _row(queries: str, name: str, durations: list[float], recalls: dict[str, float]) -> dict[str, Any]:
    recall = next(
        (value for peer, value in recalls.items() if name.startswith(f"{peer},") and "filter" not in name), ""
    )
    milliseconds = np.array(durations) * 1e3
    return {
        "queries": queries,
        "what": name,
        "median_ms": round(float(np.median(milliseconds)), 3),
        "least_ms": round(float(milliseconds.min()), 3),
        "calls": len(durations),
        "recall@100": recall,
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
