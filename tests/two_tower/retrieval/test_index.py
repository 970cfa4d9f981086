from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.devices import CUDA
from two_tower.errors import InputError
from two_tower.retrieval import codes, index
from two_tower.retrieval.index import Index, build
from two_tower.runtime import open_session

SIMILARITIES = ("cosine", "dot", "euclidean")


@pytest.fixture(autouse=True, params=["plain", "cached", "large", "half", *(["cuda"] if CUDA else [])])
def opened(request, monkeypatch: pytest.MonkeyPatch):
    """Function that opens an index. Every test runs on each kind of graph, and on the CUDA graph on a CPU too."""
    monkeypatch.setattr(index, "HALF_ON", {"half": ("cpu",), "cuda": ("cuda",)}.get(request.param, ()))
    monkeypatch.setattr(codes, "CODED_FROM", 10**9 if request.param == "plain" else 1)
    monkeypatch.setattr(codes, "CACHED_BYTES", 0 if request.param == "large" else 10**9)
    return partial(Index, device="cuda" if request.param == "cuda" else "cpu")


def clustered(items: int, queries: int, dim: int, noise: float, groups: int = 30, seed: int = 0):
    """Items in tight groups off the origin, and queries near the groups: float32, norms around 2."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, dim)) / np.sqrt(dim) + 1.0 / np.sqrt(dim)
    item_vectors = centres[rng.integers(0, len(centres), items)] + noise * rng.normal(size=(items, dim))
    query_vectors = centres[rng.integers(0, len(centres), queries)] + 0.1 * rng.normal(size=(queries, dim))
    return item_vectors.astype(np.float32), query_vectors.astype(np.float32)


def brute_force(items, queries, similarity):
    """Scores [queries, items] in float64, by the definition."""
    items, queries = items.astype(np.float64), queries.astype(np.float64)
    if similarity == "euclidean":
        return -np.sqrt(((queries[:, None] - items[None]) ** 2).sum(axis=2))
    if similarity == "cosine":
        items = items / np.linalg.norm(items, axis=1, keepdims=True)
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    return queries @ items.T


def assert_exact(items, queries, similarity, k, results):
    """The scores are the k best and belong to their rows; rows that tie within rounding can swap places."""
    rows, scores = results
    truth = brute_force(items, queries, similarity)
    best = -np.sort(-truth, axis=1)[:, :k]
    np.testing.assert_allclose(scores, best, atol=2e-5)
    np.testing.assert_allclose(np.take_along_axis(truth, rows, axis=1), best, atol=2e-5)
    assert all(len(set(row)) == k for row in rows.tolist())


def test_known_answer(tmp_path: Path, opened):
    build(np.eye(4, dtype=np.float32), "dot", "space-1", tmp_path / "index.onnx")
    loaded = opened(tmp_path / "index.onnx")
    rows, scores = loaded.search(np.array([[0.1, 0.4, 0.3, 0.2]], dtype=np.float32), k=4)
    assert rows.tolist() == [[1, 2, 3, 0]]
    np.testing.assert_allclose(scores, [[0.4, 0.3, 0.2, 0.1]], atol=1e-6)
    assert (loaded.items, loaded.dim, loaded.similarity, loaded.embedding_space) == (4, 4, "dot", "space-1")


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("noise", [0.1, 0.001, 0.0], ids=["spread", "near-duplicates", "duplicates"])
def test_exact_on_clustered_items(tmp_path: Path, opened, similarity, noise):
    items, queries = clustered(5_000, 8, dim=16, noise=noise, groups=4)
    build(items, similarity, "s", tmp_path / "index.onnx")
    results = opened(tmp_path / "index.onnx").search(queries, k=60)
    if noise:
        assert_exact(items, queries, similarity, 60, results)
    else:  # equal items tie, so only the scores are determined
        best = -np.sort(-brute_force(items, queries, similarity), axis=1)[:, :60]
        np.testing.assert_allclose(results[1], best, atol=2e-5)


@pytest.mark.parametrize("similarity", ["dot", "euclidean"])
def test_an_outlying_item_does_not_spoil_the_codes_of_the_others(tmp_path: Path, opened, similarity):
    """All other items then have the same codes, so the scan in float32 answers."""
    items, queries = clustered(3_000, 4, dim=8, noise=0.1)
    items[17] = -1e4
    build(items, similarity, "s", tmp_path / "index.onnx")
    truth = brute_force(items, queries, similarity)
    order = np.argsort(-truth, axis=1)
    rows, scores = opened(tmp_path / "index.onnx").search(queries, k=20, exclude=order[:, :5])
    assert not any(set(row) & set(top[:5]) for row, top in zip(rows, order, strict=True))
    np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, 5:25], atol=2e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_norms_whose_products_float16_cannot_hold(tmp_path: Path, opened, similarity):
    items, queries = clustered(2_000, 4, dim=16, noise=0.1)
    items, queries = 1e4 * items, 1e4 * queries
    build(items, similarity, "s", tmp_path / "index.onnx")
    truth = brute_force(items, queries, similarity)
    best = -np.sort(-truth, axis=1)[:, :20]
    rows, scores = opened(tmp_path / "index.onnx").search(queries, k=20)
    np.testing.assert_allclose(scores, best, rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(truth, rows, axis=1), best, rtol=1e-5)


def test_near_duplicates_that_float16_cannot_tell_apart(tmp_path: Path, opened):
    """Two thousand items on each side of the mean, a few roundings of float32 apart."""
    rng = np.random.default_rng(0)
    side = np.where(np.arange(4_000) % 2, 1, -1)[:, None]
    items = (side + 1e-6 * rng.integers(0, 100, size=(4_000, 4))).astype(np.float32)
    assert len(np.unique(items.astype(np.float16), axis=0)) < 20
    build(items, "dot", "s", tmp_path / "index.onnx")
    for queries in (np.eye(4, dtype=np.float32), np.ones((1, 4), dtype=np.float32)):
        rows, _ = opened(tmp_path / "index.onnx").search(queries, k=10)
        truth = brute_force(items, queries, "dot")
        scores = np.take_along_axis(truth, rows, axis=1)
        np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, :10], atol=5e-7)


def test_items_that_differ_by_less_than_a_code_are_told_apart(tmp_path: Path, opened):
    """The query's own code has no rounding error here, and a thousand items share the code 0."""
    far = np.vstack([np.eye(4), -np.eye(4)])
    near = np.random.default_rng(0).uniform(-0.003, 0.003, size=(1_000, 4))
    items, queries = np.vstack([far, near]).astype(np.float32), np.ones((1, 4), dtype=np.float32)
    build(items, "dot", "s", tmp_path / "index.onnx")
    rows, _ = opened(tmp_path / "index.onnx").search(queries, k=12, exclude=np.array([[0, 1, 2, 3]]))
    assert rows[0].tolist() == (8 + np.argsort(-near.sum(axis=1))[:12]).tolist()


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_excluded_rows_are_not_returned_and_k_rows_remain(tmp_path: Path, opened, similarity):
    items, queries = clustered(1_000, 3, dim=8, noise=0.1)
    build(items, similarity, "s", tmp_path / "index.onnx")
    truth = brute_force(items, queries, similarity)
    order = np.argsort(-truth, axis=1)
    exclude = np.full((3, 700), -1, dtype=np.int64)
    exclude[0, :700] = order[0, :700]  # all of the first query's candidates
    exclude[1, :1] = order[1, :1]
    rows, _ = opened(tmp_path / "index.onnx").search(queries, k=10, exclude=exclude)
    assert set(rows[0]) == set(order[0, 700:710])
    assert set(rows[1]) == set(order[1, 1:11])
    assert set(rows[2]) == set(order[2, :10])


def test_k_up_to_the_whole_catalogue(tmp_path: Path, opened):
    items, queries = clustered(150, 2, dim=8, noise=0.1)
    build(items, "cosine", "s", tmp_path / "index.onnx")
    loaded = opened(tmp_path / "index.onnx")
    assert_exact(items, queries, "cosine", 150, loaded.search(queries, k=150))
    rows, scores = loaded.search(queries, k=150, exclude=np.array([[3, 149], [0, -1]]))
    assert rows[0, 148:].tolist() == [-1, -1] and np.isneginf(scores[0, 148:]).all()
    assert rows[1, 149] == -1 and set(rows[1, :149]) == set(range(1, 150))
    with pytest.raises(AssertionError, match="k=151"):
        loaded.search(queries, k=151)


def test_large_tables_are_in_a_file_of_their_own(tmp_path: Path, opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "EXTERNAL_BYTES", 1_000)
    items, queries = clustered(500, 2, dim=8, noise=0.1)
    for _ in range(2):  # a second build replaces the first
        build(items, "dot", "s", tmp_path / "index.onnx")
    assert {p.name for p in tmp_path.iterdir()} == {"index.onnx", "index.onnx.data"}
    assert (tmp_path / "index.onnx.data").stat().st_size < 3 * items.nbytes
    assert_exact(items, queries, "dot", 5, opened(tmp_path / "index.onnx").search(queries, k=5))
    (tmp_path / "index.onnx.data").unlink()
    with pytest.raises(InputError, match=r"index\.onnx is not a complete ONNX model"):
        opened(tmp_path / "index.onnx")
    (tmp_path / "index.onnx").write_bytes((tmp_path / "index.onnx").read_bytes()[:-7])
    with pytest.raises(InputError, match=r"index\.onnx is not a complete ONNX model"):
        opened(tmp_path / "index.onnx")


def test_a_large_batch_is_split(tmp_path: Path, opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "SCORES_BYTES", 4 * 500 * 3)  # three queries at a time
    items, queries = clustered(500, 8, dim=20, noise=0.1)
    build(items, "dot", "s", tmp_path / "index.onnx")
    loaded = opened(tmp_path / "index.onnx")
    assert_exact(items, queries, "dot", 50, loaded.search(queries, k=50))
    allowed = np.arange(500) % 2 == np.arange(8)[:, None] % 2
    own = np.arange(8)[:, None] + [0, 100]
    for exclude in (own, own[:1]):
        for flags in (allowed, allowed[0]):
            rows, scores = loaded.search(queries, k=50, exclude=exclude, allowed=flags)
            truth = np.where(flags, brute_force(items, queries, "dot"), -np.inf)
            np.put_along_axis(truth, np.broadcast_to(exclude, (8, 2)), -np.inf, axis=1)
            np.testing.assert_allclose(scores, -np.sort(-truth, axis=1)[:, :50], atol=2e-5)
            np.testing.assert_allclose(np.take_along_axis(truth, rows, axis=1), scores, atol=2e-5)


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_an_index_that_was_built_in_chunks(tmp_path: Path, opened, monkeypatch: pytest.MonkeyPatch, similarity):
    monkeypatch.setattr(codes, "CHUNK", 7)
    items, queries = clustered(501, 5, dim=20, noise=0.1)
    build(items, similarity, "s", tmp_path / "index.onnx")
    assert_exact(items, queries, similarity, 50, opened(tmp_path / "index.onnx").search(queries, k=50))


def test_a_query_of_zeros_is_answered(tmp_path: Path, opened):
    build(np.eye(4, dtype=np.float32), "cosine", "s", tmp_path / "index.onnx")
    rows, scores = opened(tmp_path / "index.onnx").search(np.zeros((1, 4), dtype=np.float32), k=2)
    assert len(set(rows[0])) == 2 and scores.tolist() == [[0, 0]]


@pytest.mark.parametrize("similarity", SIMILARITIES)
@pytest.mark.parametrize("share", [0.5, 0.01, 0.001, 0.0])
def test_a_filter_leaves_the_exact_top_k_of_what_it_allows(tmp_path: Path, opened, similarity, share):
    count = 3_000
    items, queries = clustered(count, 3, dim=16, noise=0.1)
    build(items, similarity, "s", tmp_path / "index.onnx")
    loaded = opened(tmp_path / "index.onnx")
    masks = np.random.default_rng(1).random((3, count)) < share
    masks[1, :5] = True
    truth = brute_force(items, queries, similarity)
    exclude = np.argsort(-np.where(masks, truth, -np.inf), axis=1)[:, :3]  # the best of each query's
    exclude[2] = [-1, -1, 7]
    for allowed in (masks, masks[1]):
        open_to = np.broadcast_to(allowed, truth.shape).copy()
        np.put_along_axis(open_to, np.where(exclude < 0, exclude[2, 2], exclude), False, axis=1)
        visible = np.where(open_to, truth, -np.inf)
        rows, scores = loaded.search(queries, k=20, exclude=exclude, allowed=allowed)
        np.testing.assert_allclose(scores, -np.sort(-visible, axis=1)[:, :20], atol=2e-5)
        assert ((rows >= 0).sum(axis=1) == np.minimum(open_to.sum(axis=1), 20)).all()
        np.testing.assert_allclose(np.take_along_axis(visible, rows, axis=1)[rows >= 0], scores[rows >= 0], atol=2e-5)
        assert (rows[np.isneginf(scores)] == -1).all()


@pytest.mark.parametrize("excluded", [5, 3_000], ids=["fetched-and-dropped", "hidden-before"])
@pytest.mark.parametrize("batch", [1, 4])
def test_codes_with_excluded_rows(tmp_path: Path, opened, excluded, batch):
    items, queries = clustered(30_000, batch, dim=16, noise=0.1)
    build(items, "dot", "s", tmp_path / "index.onnx")
    order = np.argsort(-brute_force(items, queries, "dot"), axis=1)
    rows, _ = opened(tmp_path / "index.onnx").search(queries, k=10, exclude=order[:, :excluded])
    assert [set(row) for row in rows] == [set(row) for row in order[:, excluded : excluded + 10]]


def test_optional_inputs(tmp_path: Path):
    build(np.eye(4, dtype=np.float32), "dot", "s", tmp_path / "index.onnx")
    session = open_session(tmp_path / "index.onnx")
    query = np.array([[0.1, 0.4, 0.3, 0.2], [-0.1, -0.4, -0.3, -0.2]], dtype=np.float32)
    rows, scores, _ = session.run(None, {"embedding": query, "k": np.array([2])})
    assert rows.tolist() == [[1, 2], [0, 3]]
    rows, scores, _ = session.run(None, {"embedding": query, "k": np.array([3]), "listed": np.array([3, -1, 2])})
    assert rows.tolist() == [[2, 3, -1], [3, 2, -1]] and np.isneginf(scores[:, 2]).all()


@pytest.mark.parametrize("opened", ["cached", "large", "half", *(["cuda"] if CUDA else [])], indirect=True)
def test_most_queries_need_no_scan_in_float32(tmp_path: Path, opened):
    items, queries = clustered(20_000, 16, dim=32, noise=0.05, groups=200)
    for similarity in SIMILARITIES:
        build(items, similarity, "s", tmp_path / "index.onnx")
        session = opened(tmp_path / "index.onnx")._session
        one = [session.run(["unproven"], {"embedding": q[None], "k": np.array([50])})[0].item() for q in queries]
        many = session.run(["unproven"], {"embedding": queries, "k": np.array([50])})[0]
        assert not any(one) and np.mean(many) <= 0.2, similarity


@pytest.mark.parametrize("similarity", SIMILARITIES)
def test_items_without_any_structure(tmp_path: Path, opened, similarity):
    """The worst case for coarse codes: many items stay possible, and none is missed."""
    rng = np.random.default_rng(3)
    items, queries = (rng.normal(size=(n, 16)).astype(np.float32) for n in (20_000, 8))
    build(items, similarity, "s", tmp_path / "index.onnx")
    loaded = opened(tmp_path / "index.onnx")
    singly = [loaded.search(query[None], k=50) for query in queries]
    assert_exact(items, queries, similarity, 50, [np.concatenate(parts) for parts in zip(*singly, strict=True)])
    assert_exact(items, queries, similarity, 50, loaded.search(queries, k=50))
