from pathlib import Path

import numpy as np
import pytest

from tests.devices import CUDA
from two_tower.errors import InputError
from two_tower.retrieval.half import NORM, PARTIAL, half_tables
from two_tower.retrieval.index import Index, build


def half_scores(items, queries):
    """Scores (queries, items) in float16, with the largest rounding error that the bound covers."""
    total = np.zeros((len(queries), len(items)), dtype=np.float16)
    for start in range(0, items.shape[1], PARTIAL):
        part = slice(start, start + PARTIAL)
        total += (queries[:, part].astype(np.float32) @ items[:, part].astype(np.float32).T).astype(np.float16)
    return total


@pytest.mark.parametrize("scale", [1e-6, 1, 1e4], ids=["small", "usual", "large"])
@pytest.mark.parametrize("spread", [0, 4], ids=["even", "subnormal"])
@pytest.mark.parametrize("dim", [3, 64, 200])
def test_no_score_is_further_off_than_the_bound_says(scale, spread, dim):
    """ONNX Runtime computes float16 in float32 on a CPU, so numpy does the rounding here."""
    rng = np.random.default_rng(0)
    items, queries = (
        (scale * rng.normal(size=(n, dim)) * 10 ** rng.uniform(-spread, 0, size=(n, dim))).astype(np.float32)
        for n in (2_000, 50)
    )
    tables = half_tables(np.pad(items, ((0, 1), (0, 0))), len(items))
    steps = np.linalg.norm(queries, axis=1, keepdims=True) / NORM
    coarse = half_scores(tables["half_items"][:-1], (queries / steps).astype(np.float16))
    assert np.isfinite(coarse).all() and not tables["half_items"][-1].any()
    linear_steps = steps * tables["item_step"]
    scores = coarse * linear_steps.astype(np.float64) + queries.astype(np.float64) @ tables["mean"]
    error = np.abs(scores - queries.astype(np.float64) @ items.astype(np.float64).T)
    bound = linear_steps * tables["half_slack"]
    assert (error <= bound).all()
    assert bound.max() < 0.03 * np.linalg.norm(queries, axis=1).max() * np.linalg.norm(items, axis=1).max()


def test_the_bound_covers_the_rounding_of_products():
    """Items and query are exact in float16, and each partial sum rounds in the same direction."""
    items = np.vstack([np.ones(1024), -np.ones(1024)]).astype(np.float32)
    tables = half_tables(np.pad(items, ((0, 1), (0, 0))), len(items))
    query = np.full((1, 1024), NORM / 32 * (1 - 1 / 64), dtype=np.float16)
    scores = half_scores(tables["half_items"][:1], query).astype(float)
    error = np.abs(scores - query.astype(float) @ tables["half_items"][:1].T.astype(float)).item()
    assert error == 128 < tables["half_slack"]


@pytest.mark.skipif(CUDA, reason="this machine has a GPU to run on")
def test_an_index_for_cuda_is_not_opened_on_a_cpu(tmp_path: Path):
    build(np.eye(4, dtype=np.float32), "dot", "s", tmp_path / "index.onnx")
    with pytest.raises(InputError, match="'cuda': ONNX Runtime provides only CPUExecutionProvider"):
        Index(tmp_path / "index.onnx", "cuda")
