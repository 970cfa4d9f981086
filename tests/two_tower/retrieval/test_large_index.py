from pathlib import Path

import numpy as np
import pytest

from two_tower.retrieval.index import Index, build

DIM = 1024


@pytest.mark.slow
def test_tables_that_no_message_of_2_gb_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("two_tower.retrieval.codes.CODED_FROM", 10**9)  # the same way of writing, and much faster
    count = 2**31 // (4 * DIM) + 5
    items = np.zeros((count, DIM), dtype=np.float32)
    items[np.arange(count), np.arange(count) % DIM] = 1 + np.arange(count) / count  # a known answer: the latest
    build(items, "dot", "s", tmp_path / "index.onnx")
    assert (tmp_path / "index.onnx.data").stat().st_size > 2**31 > 100 * (tmp_path / "index.onnx").stat().st_size
    query = np.eye(DIM, dtype=np.float32)[[3]]
    rows, scores = Index(tmp_path / "index.onnx").search(query, k=4)
    latest = count - 1 - (count - 1 - 3) % DIM
    assert rows[0].tolist() == [latest - DIM * i for i in range(4)]
    np.testing.assert_allclose(scores[0], items[rows[0], 3], rtol=1e-6)
