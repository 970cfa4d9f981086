"""Published splits as sparse matrices, and a block world with a known answer.

A line of the LightGCN format holds a user and all items of that user. In the NCF format each test user has one positive
item and 99 negatives sampled by the authors of the split; only these 100 items are ranked.
"""

import ast
import gzip
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

FOLDERS = {"gowalla": "gowalla", "lightgcnpp_ml-1m": "lightgcnpp_ml-1m", "ncf": "ml-1m/ncf"}
NEGATIVES = 99
KEPT = 0.8  # share of a user's items in Gowalla's train, rounded down: 8 train items are twice as frequent as 9


@dataclass(frozen=True)
class Split:
    """Train and held-out interactions.

    train, held: float32 [users, items], ones; no pair is in both. held: the positives to predict.
    candidates: int64 [users, n], the only items that are ranked for a user; None: all items that are not in train.
    age: float32 [users, items], non-zero where train is: 1 for the latest item of a user, 2 for the one before, and so
    on; None: the file has no order.
    """

    train: sparse.csr_array
    held: sparse.csr_array
    candidates: np.ndarray | None = None
    age: sparse.csr_array | None = None


@dataclass(frozen=True)
class Splits:
    """choose: a validation split of train, for the honest protocol. final: the published test, evaluated once."""

    name: str
    choose: Split
    final: Split


def read(name: str, data_dir: Path | None) -> Splits:
    folder = locate(name, data_dir)
    return {"gowalla": _gowalla, "lightgcnpp_ml-1m": _lightgcnpp, "ncf": _ncf}[name](folder)


def locate(name: str, data_dir: Path | None) -> Path:
    """Return the folder of the split: `data_dir`, else $TWO_TOWER_DATA/<folder>."""
    root = os.environ.get("TWO_TOWER_DATA")
    folder = data_dir or (Path(root) / FOLDERS[name] if root else None)
    if folder is None or not folder.is_dir():
        missing = f"{folder} does not exist" if folder else f"The folder of {name} is not set"
        raise SystemExit(f"{missing}. Pass --data-dir, or set TWO_TOWER_DATA to the parent of {FOLDERS[name]}.")
    return folder


def _gowalla(folder: Path) -> Splits:
    """Validation is the last fifth of each user's train items, as test is the last fifth of all items.

    The authors state this order (issue 19 of the NGCF repository), and train confirms it: neighbours in a line are the
    most similar, and items that have most of their interactions in test are at the ends of the lines.
    """
    train, test = (_lines(folder / f"{name}.txt.gz") for name in ("train", "test"))
    shape = _shape(train, test)
    validation = in_time(*train, shape, KEPT)
    return Splits("gowalla", validation, Split(_ones(*train, shape), _ones(*test, shape), age=_age(*train, shape)))


def _lightgcnpp(folder: Path) -> Splits:
    """The published code trains on train.txt only and masks only that: test ranks validation items too."""
    train, valid, test = (_lines(folder / f"{name}.txt.gz") for name in ("train", "valid", "test"))
    shape = _shape(train, valid, test)
    training = _ones(*train, shape)
    return Splits("lightgcnpp_ml-1m", Split(training, _ones(*valid, shape)), Split(training, _ones(*test, shape)))


def _ncf(folder: Path, seed: int = 0) -> Splits:
    """Validation: one random train item per user and 99 random items without an interaction of the user.

    Test holds the last item of each user, but the training file has no order, so the last but one is unknown.
    """
    train = np.loadtxt(folder / "ml-1m.train.rating.notime.gz", dtype=np.int64, usecols=(0, 1)).T
    with gzip.open(folder / "ml-1m.test.negative.gz", "rt") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    user, item = np.array([ast.literal_eval(row[0]) for row in rows]).T
    negatives = np.array([row[1:] for row in rows], dtype=np.int64)
    assert negatives.shape[1] == NEGATIVES and (user == np.arange(len(user))).all()
    shape = (max(train[0].max(), user.max()) + 1, max(train[1].max(), item.max(), negatives.max()) + 1)
    training, held = _ones(*train, shape), _ones(user, item, shape)
    final = Split(training, held, np.column_stack([item, negatives]))
    return Splits("ncf", carved(training, held, seed), final)


def carved(train: sparse.csr_array, test: sparse.csr_array, seed: int) -> Split:
    """Hold out one train item per user, with 99 negatives that are in neither train nor test."""
    rng = np.random.default_rng(seed)
    counts = np.diff(train.indptr)
    item = train.indices[train.indptr[:-1] + (rng.random(train.shape[0]) * counts).astype(np.int64)]
    held = _ones(np.arange(train.shape[0]), item, train.shape)
    interacted = (train + test).toarray() > 0
    negatives = np.stack([rng.choice(np.flatnonzero(~row), NEGATIVES, replace=False) for row in interacted])
    rest = sparse.csr_array(train - held)
    rest.eliminate_zeros()
    return Split(rest, held, np.column_stack([item, negatives]))


def in_time(user: np.ndarray, item: np.ndarray, shape: tuple[int, int], kept: float) -> Split:
    """Split each user's items in time: the oldest share `kept`, rounded down, is train; the rest is held out."""
    counts = np.bincount(user, minlength=shape[0])
    early = counts[user] - _from_last(user) < np.floor(kept * counts)[user]
    first, rest = (user[early], item[early]), (user[~early], item[~early])
    return Split(_ones(*first, shape), _ones(*rest, shape), age=_age(*first, shape))


def _age(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    age = sparse.csr_array((_from_last(user).astype(np.float32), (user, item)), shape=shape)
    assert age.nnz == len(user), "each pair occurs once"
    return age


def _from_last(user: np.ndarray) -> np.ndarray:
    """1 for the last pair of a user, 2 for the one before, and so on. The pairs are grouped by user."""
    assert (np.diff(user) >= 0).all(), "users are in order"
    ends = np.cumsum(np.bincount(user))
    return np.asarray(ends[user] - np.arange(len(user)))


def block_world(groups: int = 4, users: int = 30, items: int = 12, seed: int = 0) -> Splits:
    """Each group interacts with its own items only. Train has all but two or four of them per user."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(items), (groups * users, 1)), axis=1)
    order += (np.arange(groups * users) % groups * items)[:, None]
    user = np.arange(groups * users)

    def matrix(columns: slice) -> sparse.csr_array:
        interacted = order[:, columns]
        return _ones(np.repeat(user, interacted.shape[1]), interacted.ravel(), (groups * users, groups * items))

    return Splits(
        "block-world",
        Split(matrix(slice(4, None)), matrix(slice(2, 4))),
        Split(matrix(slice(2, None)), matrix(slice(2))),
    )


def _lines(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the users and the items of all pairs."""
    with gzip.open(path, "rt") as lines:
        rows = [np.array(line.split(), dtype=np.int64) for line in lines if line.strip()]
    user = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
    return user, np.concatenate([row[1:] for row in rows])


def _shape(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[int, int]:
    return max(int(user.max()) for user, _ in pairs) + 1, max(int(item.max()) for _, item in pairs) + 1


def _ones(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Build a matrix with ones at these pairs; repeated pairs count once."""
    matrix = sparse.csr_array((np.ones(len(user), np.float32), (user, item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
