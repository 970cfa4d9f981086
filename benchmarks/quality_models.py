"""The models of `benchmarks.quality`. Each is fitted on interactions and scores all items for any of their users.

Every one of them ranks by a single dot product between a user's vector and an item's vector. `Towers` says how wide the
dense part of these is, and whether a sparse part follows it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

KNN_BLOCK = 2048  # items whose similarities are held at a time
OVERSAMPLED = 32  # dimensions of the random subspace beyond those asked for
ITERATIONS = 5
EASE_ITEMS = 12_000  # above, its dense inverse takes too long: 12,000 are 0.6 GB and a minute


@dataclass(frozen=True)
class Towers:
    """scores = user @ item.T + sparse_user(users) @ sparse_item.T: one dot product of the two parts end to end.

    user: float32 [users, width], item: float32 [items, width]; None: no dense part.
    sparse_user: users [n] -> float32 [n, features]; sparse_item: float32 [items, features], sparse.
    """

    user: torch.Tensor | None = None
    item: torch.Tensor | None = None
    sparse_user: Callable[[np.ndarray], np.ndarray] | None = None
    sparse_item: sparse.csr_array | None = None

    def __call__(self, users: np.ndarray) -> np.ndarray:
        """Scores of these users, float32 [n, items]."""
        by_item = torch.zeros(())  # [items, n], as the sparse product gives it
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
    """Cosine of the items' sets of users, the nearest of each item kept (Deshpande & Karypis, 2004)."""

    neighbours: int = 100
    shrink: float = 0.0  # added to the product of the lengths: less trust in similarities of few users

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
    """Ridge regression of every item on all others (Steck, 2019, "Embarrassingly shallow autoencoders").

    EASE itself has all exponents 0 and `diagonal` 1. Otherwise the interactions are divided by powers of the degrees of
    user and item first, the history's items by a power of their degree when a user is scored, and the scores by a power
    of the inverse's diagonal: 0 is the plain ridge, 1 forbids an item to predict itself. The regulariser `ridge` is in
    units of the mean diagonal of the Gram matrix.
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
        weights = -inverse * out  # the diagonal is of no account: an item of the history is never asked for
        history = train @ sparse.diags_array(by_item**-self.history_power)
        return Towers(torch.from_numpy(history.toarray().astype(np.float32)), weights.T.contiguous())


@dataclass(frozen=True)
class Spectral:
    """Item vectors out of a truncated SVD of the degree-normalised interactions; a user is the sum of the history's.

    With S the singular values, V the right singular vectors and D the items' degrees, an item of the history counts as
    its row of D^-history_power V S^power, and an item to rank as its row of D^out_power V. With `ridge` above 0 the
    spectrum is weighted by S^2 / (S^2 + ridge) instead: the ridge regression of all items on all (see `Ease`) in its
    first dimensions. The user's vector is divided by its length.

    `linear` above 0 puts a sparse part behind the dense one, with a dimension for each training user: how like the user
    is to each of them, a row of R D^-linear_history R^T U^-linear_user (users' degrees U) of length `linear`, against
    whether they took the item, a row of D^linear_out R^T. That is the untruncated filter of GF-CF (Shen et al., 2021,
    "How powerful is graph convolution for recommendation?"), which adds these two, with free exponents as in LinkProp
    (Fu et al., 2022, "Revisiting neighborhood-based link prediction for collaborative filtering").

    With `recency` above 0 the history's items count by age^-recency in both parts, the latest being of age 1. It is the
    only setting that reads the order in which a user took the items.
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

        def alike(users: np.ndarray) -> np.ndarray:
            """How like each training user these are, in all of length `linear`."""
            found = (known[users] @ train.T).toarray() * trust
            return np.asarray(found * (self.linear / np.linalg.norm(found, axis=1, keepdims=True).clip(1e-12)))

        return Towers(user, item, alike, _scaled(train, 0.0, -self.linear_out).T.tocsr())

    def _by_age(self, train: sparse.csr_array, age: sparse.csr_array | None) -> sparse.csr_array:
        """How much each item of a history counts."""
        if not self.recency:
            return train
        assert age is not None, "recency needs the order of the histories"
        return age.power(-self.recency)


Model = ItemKnn | Ease | Spectral


def randomised_svd(matrix: sparse.csr_array, width: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest singular values, descending, float32 [width], and their right vectors, float32 [columns, width].

    Subspace iteration from a random start (Halko, Martinsson & Tropp, 2011, algorithm 4.4), orthonormal by Cholesky
    twice over, which is quicker than Householder's and as good for well-conditioned blocks.
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
    """Interactions of each item (axis 0) or user (axis 1), at least 1, float32."""
    return np.maximum(train.sum(axis=axis), 1).astype(np.float32)


def _scaled(train: sparse.csr_array, user_power: float, item_power: float) -> sparse.csr_array:
    """Divided by these powers of the degrees."""
    user = sparse.diags_array(_degree(train, 1) ** -user_power)
    item = sparse.diags_array(_degree(train, 0) ** -item_power)
    return sparse.csr_array(user @ train @ item).astype(np.float32)


def _largest(similar: np.ndarray, k: int) -> sparse.csr_array:
    """Each row's k largest, the rest left out."""
    if similar.shape[1] > k:
        least = -np.partition(-similar, k - 1, axis=1)[:, k - 1]
        similar[similar < least[:, None]] = 0
    return sparse.csr_array(similar)
