"""Tables for the scan on CUDA: the items in float16, one table for single and for batched queries.

The codes in `index.onnx` are made for a CPU. When an index is opened for CUDA, its float32 table is rounded to float16
in memory, so a release stores no extra table. The scan has the steps of the batched scan of codes: candidates by coarse
scores, exact scores in float32, a proof, and a scan in float32 of the queries without a proof.

The proof bounds the error of a score q · x, where x is an item minus the mean, by the Cauchy–Schwarz inequality. q and
x are scaled to norms of at most NORM, so that no sum overflows (65504). The bound is a sum of three errors, each
multiplied by the norm of the other factor:

- rounding of the items: the largest |x - half(x)|, measured;
- rounding of the query: 2⁻¹¹ of each component, or 2⁻²⁵ for components too small for full precision;
- rounding of the product: cuBLAS sums in float32, which is ONNX Runtime's default, but may round partial sums to
  float16 before it adds them. A partial sum is assumed to have at least 16 products, as one instruction of a tensor
  core has. Each rounding counts twice, which covers the sums in float32. Sums in float16 (ORT_CUDA_GEMM_OPTIONS=1) are
  not covered.

All operators of this graph have a CUDA kernel for the types used here, so only shapes and conditions are computed on
the CPU. The graph of `index.onnx` uses uint8 × int8 products and maxima of uint8, which have no CUDA kernel. TopK on
CUDA takes several times longer over all scores than over the maxima of blocks. It pads with the least finite number,
and -inf is below that, so hidden rows have a larger value here. TensorFloat-32, on by default, is off
(`two_tower.runtime`) because it would round the float32 scores.
"""

import numpy as np

from two_tower.inputs import Array

NORM = 128.0
LOWEST = -6e4  # coarse score of a hidden row; above the least finite float16
HIDDEN = -3e38  # float32 score of a hidden row; above the least finite float32
PARTIAL = 16  # least number of products that are summed in float32
EPS = float(np.finfo(np.float16).eps)  # twice the largest relative rounding error


def half_tables(linear: Array, count: int) -> dict[str, Array]:
    """Build the float16 table and the constants of its scan.

    Args:
        linear: Items, `(rows, width) float32`; rows from `count` are padding.
        count: Number of items.

    Returns:
        Constants of the graph by name.
    """
    items = linear[:count]
    mean = items.mean(axis=0, dtype=np.float64).astype(np.float32)
    scaled = linear - mean
    scaled[count:] = 0
    largest = float(np.linalg.norm(scaled, axis=1).max())
    scale = (
        2.0 ** np.floor(np.log2(NORM / largest)) if largest > 0 else 1.0
    )  # a power of two, so scaling does not round
    scaled *= np.float32(scale)
    half = scaled.astype(np.float16)
    item_error = float(np.linalg.norm(scaled - half, axis=1).max())
    item_norm = float(np.linalg.norm(half.astype(np.float32), axis=1).max())
    query_norm = NORM * (1 + 1e-5)
    query_error = EPS / 2 * query_norm + 2.0**-25 * np.sqrt(linear.shape[1])
    roundings = linear.shape[1] / PARTIAL + 2
    slack = (
        query_norm * item_error + query_error * item_norm + roundings * EPS * (query_norm + query_error) * item_norm
    ) + 2.0**-24
    return {
        "half_items": half,
        "mean": mean[:, None],
        "item_norm": np.linalg.norm(items, axis=1).max(),
        "query_norm": np.array(NORM, dtype=np.float32),
        "item_step": np.array(1 / scale, dtype=np.float32),
        "half_slack": np.array(slack, dtype=np.float32),
        "half_lowest": np.array(LOWEST, dtype=np.float16),
        "minus_infinity": np.array(HIDDEN, dtype=np.float32),
    }
