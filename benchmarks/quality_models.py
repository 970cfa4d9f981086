"""Models of `benchmarks.quality`. Each is fitted on interactions and scores all items for any training user.

All models score with one dot product of a user vector and an item vector. `Towers` holds these vectors: a dense part of
some width, a sparse part, or both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

KNN_BLOCK = 2048  # items per block of similarities
OVERSAMPLED = 32  # extra dimensions of the random subspace
ITERATIONS = 5
EASE_ITEMS = 12_000  # more items take too long: the dense inverse of 12,000 takes 0.6 GB and a minute


@dataclass(frozen=True)
class Towers:
    """scores = user @ item.T + sparse_user(users) @ sparse_item.T: one dot product of the concatenated parts.

    user: float32 [users, width], item: float32 [items, width]; None: no dense part.
    sparse_user: users [n] -> float32 [n, features]; sparse_item: float32 [items, features], sparse.
    """

    user: torch.Tensor | None = None
    item: torch.Tensor | None = None
    sparse_user: Callable[[np.ndarray], np.ndarray] | None = None
    sparse_item: sparse.csr_array | None = None

    def __call__(self, users: np.ndarray) -> np.ndarray:
        """Score all items for these users, float32 `(n, items)`."""
        by_item = torch.zeros(())  # [items, n], the layout of the sparse product
        if self.sparse_user is not None and self.sparse_item is not None:
            by_item = torch.from_numpy(self.sparse_item @ np.ascontiguousarray(self.sparse_user(users).T))
        if self.user is not None and self.item is not None:
            by_item = by_item + self.item @ self.user[torch.from_numpy(users)].T
        return by_item.T.contiguous().numpy()

    @property
    def width(self) -> str:
        dense = [] if self.item is None else [str(self.item.shape[1])]
        if self.sparse_item is None:
            return dense[0]
        each = self.sparse_item.nnz / self.sparse_item.shape[0]
        return " + ".join([*dense, f"{self.sparse_item.shape[1]} sparse, {each:.0f} an item"])


def popularity(train: sparse.csr_array) -> Towers:
    counts = torch.from_numpy(_degree(train, 0))[:, None]
    return Towers(torch.ones(train.shape[0], 1), counts)


@dataclass(frozen=True)
class ItemKnn:
    """Item-kNN: cosine similarity of the user sets of two items, the nearest neighbours per item.

    Source: Deshpande & Karypis, 2004.
    """

    neighbours: int = 100
    shrink: float = 0.0  # added to the product of the norms; reduces similarities that rest on few users

    def fit(self, train: sparse.csr_array) -> Towers:
        length = np.sqrt(_degree(train, 0))
        item_user = train.T.tocsr()
        blocks = []
        for start in range(0, train.shape[1], KNN_BLOCK):
            rows = slice(start, start + KNN_BLOCK)
            similar = (item_user[rows] @ train).toarray()
            similar /= length[rows, None] * length + self.shrink
            own = np.arange(len(similar))
            similar[own, start + own] = 0
            blocks.append(_largest(similar, self.neighbours))
        similar = sparse.vstack(blocks, format="csr")
        return Towers(sparse_user=lambda users: train[users].toarray(), sparse_item=similar)


@dataclass(frozen=True)
class Ease:
    """EASE: ridge regression of each item on all other items.

    The original EASE has all exponents 0 and `diagonal` 1. Other values divide the interactions by powers of the user
    degree and the item degree before the fit, the items of the history by a power of their degree at scoring, and the
    scores by a power of the diagonal of the inverse: 0 is plain ridge regression; with 1 an item cannot predict itself.
    `ridge` is in units of the mean diagonal of the Gram matrix.

    Source: Steck, 2019, "Embarrassingly shallow autoencoders".
    """

    ridge: float = 1.0
    user_power: float = 0.0
    item_power: float = 0.0
    history_power: float = 0.0
    out_power: float = 0.0
    diagonal: float = 1.0

    def fit(self, train: sparse.csr_array) -> Towers:
        by_item = _degree(train, 0)
        scaled = _scaled(train, self.user_power, self.item_power)
        gram = torch.from_numpy((scaled.T @ scaled).toarray())
        ridge = self.ridge * float(gram.diagonal().mean())
        gram.diagonal().add_(ridge)
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram)) * ridge
        out = torch.from_numpy(by_item**self.out_power) / inverse.diagonal() ** self.diagonal
        weights = -inverse * out  # the diagonal does not matter: items of the history are never ranked
        history = train @ sparse.diags_array(by_item**-self.history_power)
        return Towers(torch.from_numpy(history.toarray().astype(np.float32)), weights.T.contiguous())


@dataclass(frozen=True)
class Spectral:
    """Item vectors from a truncated SVD of the degree-normalised interactions; a user is the sum of the history items.

    S are the singular values, V the right singular vectors, D the item degrees and U the user degrees. An item of the
    history contributes its row of D^-history_power V S^power; a ranked item has its row of D^out_power V. With `ridge`
    above 0 the spectrum is weighted by S^2 / (S^2 + ridge) instead: the ridge regression of all items on all items (see
    `Ease`) in its first dimensions. The user vector is normalised to unit length.

    `linear` above 0 appends a sparse part with one dimension per training user. The user side is the similarity to each
    training user, a row of R D^-linear_history R^T U^-linear_user scaled to the length `linear`; the item side is a row
    of D^linear_out R^T: the training users who interacted with the item. This is the untruncated filter of GF-CF, which
    adds these two parts, with free exponents as in LinkProp.

    With `recency` above 0 the items of the history are weighted by age^-recency in both parts; the latest has age 1.
    This is the only setting that uses the order of a user's items.

    Source: Shen et al., 2021, "How powerful is graph convolution for recommendation?" (GF-CF); Fu et al., 2022,
    "Revisiting neighborhood-based link prediction for collaborative filtering" (LinkProp).
    """

    width: int = 512
    user_power: float = 0.5
    item_power: float = 0.5
    history_power: float = 0.5
    out_power: float = 0.5
    power: float = 0.0
    ridge: float = 0.0
    linear: float = 0.0
    linear_history: float = 1.0
    linear_user: float = 1.0
    linear_out: float = 0.0
    recency: float = 0.0

    def fit(self, train: sparse.csr_array, seed: int = 0, age: sparse.csr_array | None = None) -> Towers:
        return self.towers(train, *self.decomposed(train, seed), age)

    def decomposed(self, train: sparse.csr_array, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        return randomised_svd(_scaled(train, self.user_power, self.item_power), self.width, seed)

    def towers(
        self, train: sparse.csr_array, values: torch.Tensor, vectors: torch.Tensor, age: sparse.csr_array | None = None
    ) -> Towers:
        by_item = _degree(train, 0)
        weight = values**2 / (values**2 + self.ridge) if self.ridge else values**self.power
        taken = self._by_age(train, age)
        history = taken @ sparse.diags_array(by_item**-self.history_power).astype(np.float32)
        user = torch.nn.functional.normalize(torch.from_numpy(history @ vectors.numpy()) * weight)
        item = vectors * torch.from_numpy(by_item**self.out_power)[:, None]
        if not self.linear:
            return Towers(user, item)
        known = sparse.csr_array(taken @ sparse.diags_array(by_item**-self.linear_history)).astype(np.float32)
        trust = _degree(train, 1) ** -self.linear_user

        def user_similarity(users: np.ndarray) -> np.ndarray:
            """Similarity of these users to each training user, scaled to the length `linear`."""
            similarity = (known[users] @ train.T).toarray() * trust
            return np.asarray(
                similarity * (self.linear / np.linalg.norm(similarity, axis=1, keepdims=True).clip(1e-12))
            )

        return Towers(user, item, user_similarity, _scaled(train, 0.0, -self.linear_out).T.tocsr())

    def _by_age(self, train: sparse.csr_array, age: sparse.csr_array | None) -> sparse.csr_array:
        """Weight of each item of a history."""
        if not self.recency:
            return train
        assert age is not None, "recency needs the order of the histories"
        return age.power(-self.recency)


Model = ItemKnn | Ease | Spectral


def randomised_svd(matrix: sparse.csr_array, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the largest singular values and their right singular vectors by randomised subspace iteration.

    The basis is orthonormalised by Cholesky, which is faster than Householder and as accurate for well-conditioned
    blocks.

    Returns:
        Singular values in descending order, float32 `(width,)`, and vectors, float32 `(columns, width)`.

    Source: Halko, Martinsson & Tropp, 2011, algorithm 4.4.
    """
    width = min(width, *matrix.shape)
    wide = min(width + OVERSAMPLED, *matrix.shape)
    transposed = matrix.T.tocsr()
    basis = torch.randn(matrix.shape[0], wide, generator=torch.Generator().manual_seed(seed))
    for _ in range(ITERATIONS):
        basis = _orthonormal(torch.from_numpy(matrix @ (transposed @ basis.numpy())))
    within = torch.from_numpy(transposed @ _orthonormal(basis).numpy())
    squares, turn = torch.linalg.eigh((within.T @ within).double())
    values = squares.flip(0)[:width].clamp_min(1e-12).sqrt().float()
    return values, within @ turn.flip(1)[:, :width].float() / values


def _orthonormal(columns: torch.Tensor) -> torch.Tensor:
    gram = (columns.T @ columns).double()
    gram.diagonal().add_(1e-9 * gram.diagonal().mean())
    root = torch.linalg.cholesky(gram).float()
    return torch.linalg.solve_triangular(root.T, columns, upper=True, left=False)


def _degree(train: sparse.csr_array, axis: int) -> np.ndarray:
    """Count the interactions of each item (axis 0) or user (axis 1), at least 1, float32."""
    return np.maximum(train.sum(axis=axis), 1).astype(np.float32)


def _scaled(train: sparse.csr_array, user_power: float, item_power: float) -> sparse.csr_array:
    """Divide the interactions by these powers of the degrees."""
    user = sparse.diags_array(_degree(train, 1) ** -user_power)
    item = sparse.diags_array(_degree(train, 0) ** -item_power)
    return sparse.csr_array(user @ train @ item).astype(np.float32)


def _largest(similar: np.ndarray, k: int) -> sparse.csr_array:
    """Keep the k largest values of each row."""
    if similar.shape[1] > k:
        least = -np.partition(-similar, k - 1, axis=1)[:, k - 1]
        similar[similar < least[:, None]] = 0
    return sparse.csr_array(similar)
