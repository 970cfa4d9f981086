from pathlib import Path

import numpy as np
import pytest

from tests.two_tower.retrieval.adversary import rounding_adversary
from two_tower.retrieval import codes
from two_tower.retrieval.index import QUERY_LEVELS, Index, build


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("masked", [False, True], ids=["excluded-after", "hidden-before"])
def test_the_rounding_of_the_query_hides_no_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits, masked):
    """The best item is found only with at least 95 % of the slack for the rounding of the query."""
    monkeypatch.setattr(codes, "CACHED_BYTES", 0 if bits == 4 else 2**30)
    items, queries = rounding_adversary(QUERY_LEVELS)
    build(items, "dot", "space", tmp_path / "index.onnx")
    index = Index(tmp_path / "index.onnx")
    allowed = np.ones(len(items), dtype=bool) if masked else None
    for row, query in enumerate(queries):
        rows, scores = index.search(query[None], k=1, allowed=allowed)
        assert rows.tolist() == [[row]]
        np.testing.assert_allclose(scores[0, 0], items[row].astype(float) @ query, rtol=1e-6)
