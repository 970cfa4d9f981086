"""Recall@k and NDCG@k as in the evaluation of LightGCN. With one positive item per user: HR@k and NDCG@k of NCF.

recall@k: number of positives in the top k, divided by all positives of the user, which can be more than k. NDCG@k: sum
of 1 / log2(rank + 1) over the positives in the top k, divided by the same sum for the ideal list, which has
min(k, positives) of them. Both are means over the users with at least one positive.
"""

from collections.abc import Callable

import numpy as np
import torch

from benchmarks.quality_splits import Split

BLOCK = 1024  # users scored at a time
Scorer = Callable[[np.ndarray], np.ndarray]  # users [n] -> scores float32 [n, items]


def evaluate(scorer: Scorer, split: Split, k: int, users: np.ndarray | None = None) -> dict[str, float]:
    """Evaluate on the given users; None: all users with at least one positive."""
    evaluable = np.flatnonzero(np.diff(split.held.indptr))
    selected = evaluable if users is None else np.intersect1d(evaluable, users)
    metrics = np.concatenate(
        [per_user(scorer(block), split, block, k) for block in np.array_split(selected, -(-len(selected) // BLOCK))]
    )
    recall, ndcg = metrics.mean(axis=0)
    return {f"recall@{k}": float(recall), f"ndcg@{k}": float(ndcg)}


def per_user(scores: np.ndarray, split: Split, users: np.ndarray, k: int) -> np.ndarray:
    """Compute recall@k and ndcg@k of each user, `(users, 2)`. Overwrites `scores` `(users, items)`."""
    ranked = _ranked(scores, split, users, k)
    held = split.held[users]
    positive = np.zeros(held.shape, dtype=bool)
    positive[held.nonzero()] = True
    hits = np.take_along_axis(positive, ranked, axis=1)
    positives = np.diff(held.indptr)
    gain = 1 / np.log2(np.arange(ranked.shape[1]) + 2)
    best = np.cumsum(gain)[np.minimum(positives, ranked.shape[1]) - 1]
    return np.column_stack([hits.sum(axis=1) / positives, hits @ gain / best])


def _ranked(scores: np.ndarray, split: Split, users: np.ndarray, k: int) -> np.ndarray:
    """Rank the top k items of each user, `(users, k)`."""
    if split.candidates is None:
        scores[split.train[users].nonzero()] = -np.inf
        return torch.topk(torch.from_numpy(scores), min(k, scores.shape[1]), dim=1).indices.numpy()
    # The positive item is the first candidate. In reversed order it never wins a tie.
    candidates = split.candidates[users][:, ::-1]
    own = np.take_along_axis(scores, candidates, axis=1)
    return np.take_along_axis(candidates, np.argsort(-own, axis=1, kind="stable")[:, :k], axis=1)
