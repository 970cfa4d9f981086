"""An index as CUDA scans it: in float16, the same table for one query and for many.

The codes of `index.onnx` are made for a CPU. Where an index is opened for CUDA, its float32 table is rounded to float16
in memory, so that a release holds nothing more. The scan then goes as that of many queries by codes does: candidates by
coarse scores, exact scores in float32, a proof, and a scan in float32 of the queries that it fails for.

The proof bounds the error of a score q · x of items less their mean, by the Cauchy–Schwarz inequality. q and x are
scaled to norms of at most NORM, so that no sum overflows (65504). It adds up, each times the other factor's norm:

- the items' rounding: the largest |x - half(x)|, measured;
- the query's: 2⁻¹¹ of each of its numbers, or 2⁻²⁵ for those too small to be held in full;
- the product's: cuBLAS sums in float32, which is ONNX Runtime's default, but may round partial sums to float16 and add
  those. They are taken to be of 16 products at least, as many as one instruction of a tensor core sums. Each rounding
  counts twice, which covers the sums in float32. Sums in float16 (ORT_CUDA_GEMM_OPTIONS=1) are not covered.

All operators of this graph have a CUDA kernel for the types used here, so that only shapes and conditions are computed
on the CPU; the graph of `index.onnx` takes products of uint8 with int8, and maxima of uint8, which have none. TopK on
CUDA takes several times as long for all scores as for the blocks' maxima. It fills up with the least finite number,
below which -inf would lie: what is hidden has a larger one here. TensorFloat-32, on by default, is off
(`two_tower.runtime`), for it would round what is called float32 here.
"""

import numpy as np

from two_tower.inputs import Array

NORM = 128.0
LOWEST = -6e4  # of coarse scores: hidden; above the least finite float16
HIDDEN = -3e38  # of float32 scores, likewise
PARTIAL = 16  # products summed in float32 at least
EPS = float(np.finfo(np.float16).eps)  # twice the largest relative error of rounding


def half_tables(linear: Array, count: int) -> dict[str, Array]:
    """The float16 table of items float32 [rows, width], of which `count` are items, and the constants of its scan."""
    items = linear[:count]
    mean = items.mean(axis=0, dtype=np.float64).astype(np.float32)
    scaled = linear - mean
    scaled[count:] = 0
    largest = float(np.linalg.norm(scaled, axis=1).max())
    scale = 2.0 ** np.floor(np.log2(NORM / largest)) if largest > 0 else 1.0  # a power of two: no rounding here
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
