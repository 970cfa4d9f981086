import numpy as np
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

from two_tower.retrieval.selection_graph import BLOCK, excluded, top_rows

ROWS = 8 * BLOCK
MODEL = """
<ir_version: 10, opset_import: ["" : 21]>
graph (float[batch, n] coarse, int64[1] best_fetched, int64[batch, e] hidden_rows)
  => (int64[batch, f] best_rows, float[batch, f] best_top, bool[batch, f] best_hidden)
{{
  {nodes}
}}
"""


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    model = parser.parse_model(MODEL.format(nodes=top_rows("best", "coarse", "best_rows") + excluded("best")))
    constants = {
        "block_shape": np.array([-1, ROWS // BLOCK, BLOCK]),
        "block_count": np.array([ROWS // BLOCK]),
        "block": np.array([BLOCK]),
        "lanes": np.arange(BLOCK).reshape(1, 1, BLOCK),
        "flat_shape": np.array([0, -1]),
        "last": np.array([-1]),
        "one": np.array([1]),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("fetched", [1, 3, 40, ROWS])
def test_the_best_rows_and_the_excluded_ones_among_them(session, fetched):
    coarse = np.random.default_rng(0).permuted(np.tile(np.arange(ROWS, dtype=np.float32), (3, 1)), axis=1)
    coarse[2] = np.sort(coarse[2])  # the best rows share their blocks
    order = np.argsort(-coarse, axis=1)
    hidden = np.stack([order[:, 0], order[:, -1]], axis=1)
    rows, scores, flags = session.run(
        None, {"coarse": coarse, "best_fetched": np.array([fetched]), "hidden_rows": hidden}
    )
    for query in range(3):
        assert set(rows[query]) == set(order[query, :fetched])
        assert set(rows[query][flags[query]]) == set(hidden[query]) & set(order[query, :fetched])
    np.testing.assert_array_equal(np.take_along_axis(coarse, rows, axis=1), scores)
