"""A catalogue and two queries for which the rounding of the query moves the best item's score as far as it can."""

import numpy as np

DIM, COUNT = 32, 32_768


def rounding_adversary(levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return items and queries: the best item of query 0 is row 0, and of query 1, its negative, row 1.

    Items have entries ±1/√32, so their codes are exact, and come in antipodal pairs, so their mean is zero. A query is
    quantized in `levels` steps of 1. Its rounding error is 0.49 in 31 columns, each with the sign of row 0, so the
    coarse score of row 0 is too low by nearly the norm of that error. A thousand items have a lower score and a higher
    coarse score.

    Args:
        levels: Quantization levels on either side of zero.

    Returns:
        Items float32 `(32768, 32)` and queries float32 `(2, 32)`.
    """
    rng = np.random.default_rng(0)
    best = rng.choice([-1.0, 1.0], size=DIM)
    steps = np.zeros(DIM)
    steps[0] = levels
    steps[1:4] = -1
    query = best * (steps + np.where(np.arange(DIM) > 0, 0.49, 0))
    flips = np.array(
        [
            (down, first, second)  # one column that lowers the coarse score of row 0, and two that do not change it
            for down in range(1, 4)
            for first in range(4, DIM)
            for second in range(first + 1, DIM)
        ]
    )
    rivals = np.tile(best, (len(flips), 1))
    np.put_along_axis(rivals, flips, -np.take_along_axis(rivals, flips, axis=1), axis=1)
    others = np.tile(best, (COUNT // 2 - 1 - len(rivals), 1))  # the coarse score of row 0, and a lower score
    others[:, 4:] *= rng.choice([-1.0, 1.0], size=(len(others), DIM - 4))
    half = np.vstack([best, rivals, others])
    items = np.stack([half, -half], axis=1).reshape(COUNT, DIM) / np.sqrt(DIM)
    return items.astype(np.float32), np.stack([query, -query]).astype(np.float32)
