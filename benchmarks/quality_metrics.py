"""Recall@k and NDCG@k as LightGCN's evaluation computes them; with one right item a user, HR@k and NDCG@k of NCF.

recall@k: found among the first k, divided by all that there were to find, which may be more than k. NDCG@k: the sum of
1 / log2(place + 1) over those found, divided by the same of the best list, which holds min(k, to find) right items.
Means over users who have something to find.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.quality_splits import Split

BLOCK = 1024  # users scored at a time
Scorer = Callable[[np.ndarray], np.ndarray]  # users [n] -> scores float32 [n, items]


def evaluate(scorer: Scorer, split: Split, k: int, users: np.ndarray | None = None) -> dict[str, float]:
    """`users`: those to ask; None for all who have something to find."""
    able = np.flatnonzero(np.diff(split.held.indptr))
    asked = able if users is None else np.intersect1d(able, users)
    found = np.concatenate(
        [per_user(scorer(block), split, block, k) for block in np.array_split(asked, -(-len(asked) // BLOCK))]
    )
    recall, ndcg = found.mean(axis=0)
    return {f"recall@{k}": float(recall), f"ndcg@{k}": float(ndcg)}


def per_user(scores: np.ndarray, split: Split, users: np.ndarray, k: int) -> np.ndarray:
    """recall@k and ndcg@k of each user, [users, 2]. `scores` [users, items] is written to."""
    listed = _ranked(scores, split, users, k)
    held = split.held[users]
    right = np.zeros(held.shape, dtype=bool)
    right[held.nonzero()] = True
    hits = np.take_along_axis(right, listed, axis=1)
    to_find = np.diff(held.indptr)
    gain = 1 / np.log2(np.arange(listed.shape[1]) + 2)
    best = np.cumsum(gain)[np.minimum(to_find, listed.shape[1]) - 1]
    return np.column_stack([hits.sum(axis=1) / to_find, hits @ gain / best])


def _ranked(scores: np.ndarray, split: Split, users: np.ndarray, k: int) -> np.ndarray:
    """The k best items of each user, best first, [users, k]."""
    if split.candidates is None:
        scores[split.train[users].nonzero()] = -np.inf
        return torch.topk(torch.from_numpy(scores), min(k, scores.shape[1]), dim=1).indices.numpy()
    # The right item comes first among the candidates: reversed, so that it never wins by a tie.
    candidates = split.candidates[users][:, ::-1]
    own = np.take_along_axis(scores, candidates, axis=1)
    return np.take_along_axis(candidates, np.argsort(-own, axis=1, kind="stable")[:, :k], axis=1)
