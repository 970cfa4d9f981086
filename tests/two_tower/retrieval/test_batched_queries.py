from pathlib import Path

import numpy as np
import pytest

from tests.two_tower.retrieval.adversary import rounding_adversary
from two_tower.retrieval.index import QUERY_BYTE_LEVELS, Index, build


@pytest.mark.parametrize("masked", [False, True], ids=["excluded-after", "hidden-before"])
def test_the_rounding_of_a_query_hides_no_item(tmp_path: Path, masked):
    """No candidate is the best item, and the proof must fail: it holds with 75 % of the slack for the rounding."""
    items, queries = rounding_adversary(QUERY_BYTE_LEVELS)
    build(items, "dot", "space", tmp_path / "index.onnx")
    allowed = np.ones(len(items), dtype=bool) if masked else None
    rows, scores = Index(tmp_path / "index.onnx").search(queries, k=1, allowed=allowed)
    assert rows.tolist() == [[0], [1]]
    np.testing.assert_allclose(scores[:, 0], (items[:2].astype(float) * queries).sum(axis=1), rtol=1e-6)
