"""Exact retrieval beside FAISS, numpy and the time to read the codes: `python -m benchmarks.index --items N --dim D`.

The items are unit vectors in clusters, `--noise` apart, and queries are drawn as items are; `--noise 0` takes items
without any structure, the worst case for codes. All times are taken in turns. The ratios are of the least times, each
side at its best number of threads: what a call takes when nothing else of the machine comes between. Both sides have
huge pages, as the serving image asks for.

With `--device cuda` ours runs on the GPU. Beside FAISS on the CPU then stands what one would write in torch: the same
table in float32 on the same GPU, a product and a topk; and reading the float16 table once, in the GPU's memory.
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
HNSW_UP_TO = 1_000_000  # items; above, building the graph takes longer than all else here
FILTERS = (0.5, 0.01, 0.0001)
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # read when a process starts


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--noise", type=float, default=0.5, help="of an item around its cluster; 0: no clusters")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where ours runs")
    given = parser.parse_args()
    if "GLIBC_TUNABLES" not in os.environ:
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks.index", *sys.argv[1:]], {**os.environ, **HUGE_PAGES}
        )
    count, seconds = (min(given.items, 30_000), 0.1) if given.quick else (given.items, 4.0)
    described = machine()
    with tempfile.TemporaryDirectory(prefix="benchmark-index-") as folder:
        rows, claims = measure(count, given.dim, given.noise, given.device, seconds, Path(folder))
    finish(rows, claims, described | {"load_after": round(os.getloadavg()[0], 2)}, given.json)


def vectors(count: int, dim: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit items [count, dim] and queries [QUERIES, dim], float32."""
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
    held = (_resident() - before) / len(indexes)
    progress("built; truth by numpy")
    truth = _truth(items, queries)
    singles: dict[str, Callable[[], object]] = {}
    batches: dict[str, Callable[[], object]] = {}
    take = _turns(queries)
    for way, index in indexes.items():
        singles[f"ours, {way}"] = lambda index=index: index.search(take(1), K)
        batches[f"ours, {way}"] = lambda index=index: index.search(take(BATCH), K)
    recalls = {"ours": _recall(np.concatenate([ours.search(q[None], K)[0] for q in queries]), truth)}
    recalls["ours"] = min(recalls["ours"], _recall(ours.search(queries, K)[0], truth))
    for name, (search, needs) in _faiss(items, cores, recalls, queries, truth).items():
        singles[name] = lambda search=search: search(take(1))
        if needs:
            batches[name] = lambda search=search: search(take(BATCH))
    singles["numpy"] = lambda: _top(items @ take(1)[0])
    batches["numpy"] = lambda: _top(take(BATCH) @ items.T)
    if device == "cpu":
        # written, for memory that never was is one page of zeros over and over, and read from the cache
        codes = np.arange(count * dim // 8, dtype=np.int64)
        for threads in sorted({1, cores}):
            singles[f"read int8, {threads} threads"] = _reader(codes, threads)
    else:
        search, singles["read float16, cuda"] = _torch(items)
        singles["torch, cuda"] = lambda: search(take(1))
        batches["torch, cuda"] = lambda: search(take(BATCH))
        recalls["torch"] = _recall(search(queries), truth)
    rng = np.random.default_rng(1)
    for share in FILTERS:
        mask = rng.random(count) < share
        singles[f"ours, filter keeps {share:.2%}"] = lambda mask=mask: ours.search(take(1), K, allowed=mask)
    progress("one query")
    single = alternate(singles, seconds)
    progress(f"{BATCH} queries")
    batch = alternate(batches, seconds)
    rows = [_row("1", name, taken, recalls) for name, taken in single.items()]
    rows += [_row(str(BATCH), name, taken, recalls) for name, taken in batch.items()]
    best, best_batch = (min(_best(taken, f"ours, {way}") for way in ways) for taken in (single, batch))
    claims = {
        "recall@100": recalls["ours"],
        "single_ratio_vs_faiss_flat": best / _best(single, "FAISS flat"),
        "single_ratio_vs_memory_read": best / _best(single, "read "),
        "batch32_ratio_vs_faiss_flat": best_batch / _best(batch, "FAISS flat"),
        "bytes_per_item": sum(path.stat().st_size for path in folder.iterdir()) / count,
        "resident_bytes_per_item": held / count,
    }
    if device == "cuda":
        claims["single_ratio_vs_torch_cuda"] = best / _best(single, "torch, cuda")
        claims["batch32_ratio_vs_torch_cuda"] = best_batch / _best(batch, "torch, cuda")
    return rows, claims


def _faiss(
    items: np.ndarray, cores: int, recalls: dict[str, float], queries: np.ndarray, truth: np.ndarray
) -> dict[str, tuple[Callable[[np.ndarray], object], bool]]:
    """The peers by name, and whether each is timed in batches too. FAISS flat runs at its best number of threads."""
    try:
        import faiss
    except ImportError:
        sys.exit("FAISS is not installed. Install the extra `bench`: pip install 'two-tower[bench]'.")
    flat = faiss.IndexFlatIP(items.shape[1])
    flat.add(items)
    recalls["FAISS flat"] = _recall(flat.search(queries, K)[1], truth)

    def with_threads(index: Any, threads: int) -> Callable[[np.ndarray], object]:
        def search(asked: np.ndarray) -> object:
            faiss.omp_set_num_threads(threads)
            return index.search(asked, K)

        return search

    peers = {f"FAISS flat, {n} threads": (with_threads(flat, n), True) for n in sorted({1, cores})}
    if len(items) > HNSW_UP_TO:
        progress(f"FAISS HNSW left out: building it takes too long above {HNSW_UP_TO:,} items")
        return peers
    progress("building FAISS HNSW (M 32, efConstruction 40)")
    faiss.omp_set_num_threads(cores)
    graph = faiss.IndexHNSWFlat(items.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efSearch = 256
    graph.add(items)
    recalls["FAISS HNSW"] = _recall(graph.search(queries, K)[1], truth)
    return peers | {"FAISS HNSW, efSearch 256": (with_threads(graph, 1), True)}


def _reader(codes: np.ndarray, threads: int) -> Callable[[], object]:
    """Reads as many bytes as the int8 codes of all items have, once."""
    parts, pool = np.array_split(codes, threads), ThreadPoolExecutor(threads)
    return lambda: list(pool.map(np.bitwise_xor.reduce, parts))


def _torch(items: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[], object]]:
    """The K best on the GPU, by torch, from numpy to numpy; and reading there as many bytes as float16 items have."""
    import torch

    table = torch.from_numpy(items).cuda()
    halves = table.half().view(torch.int64)

    def search(asked: np.ndarray) -> np.ndarray:
        return (torch.from_numpy(asked).cuda() @ table.T).topk(K).indices.cpu().numpy()

    return search, lambda: halves.sum().item()


def _turns(queries: np.ndarray) -> Callable[[int], np.ndarray]:
    place = 0

    def take(n: int) -> np.ndarray:
        nonlocal place
        place = (place + n) % (QUERIES - n + 1)
        return queries[place : place + n]

    return take


def _top(scores: np.ndarray) -> np.ndarray:
    """The K best of the last axis, best first."""
    found = np.argpartition(scores, -K, axis=-1)[..., -K:]
    return np.take_along_axis(found, np.argsort(-np.take_along_axis(scores, found, -1), axis=-1), -1)


def _truth(items: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """The rows of the K best items of each query, by numpy, int64 [QUERIES, K]."""
    return np.stack([_top(items @ query) for query in queries])


def _recall(rows: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(rows.tolist(), truth.tolist(), strict=True)]))


def _best(taken: dict[str, list[float]], start: str) -> float:
    """The least time of the calls whose names start so."""
    return min(min(all_) for name, all_ in taken.items() if name.startswith(start))


def _row(queries: str, name: str, taken: list[float], recalls: dict[str, float]) -> dict[str, Any]:
    recall = next(
        (value for peer, value in recalls.items() if name.startswith(f"{peer},") and "filter" not in name), ""
    )
    milliseconds = np.array(taken) * 1e3
    return {
        "queries": queries,
        "what": name,
        "median_ms": round(float(np.median(milliseconds)), 3),
        "least_ms": round(float(milliseconds.min()), 3),
        "calls": len(taken),
        "recall@100": recall,
    }


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
