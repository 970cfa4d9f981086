"""Published splits as sparse matrices, and a block world whose answer is known.

A line of the LightGCN format is a user and all of their items. In the NCF format a test user has one right item and 99
wrong ones drawn by the split's authors, which are all that is ranked.
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
KEPT = 0.8  # of a user's items are Gowalla's train, rounded down: a train of 8 items is twice as frequent as one of 9


@dataclass(frozen=True)
class Split:
    """What a model may learn from, and what it is asked.

    train, held: float32 [users, items], ones; no pair is in both. held is what to find.
    candidates: int64 [users, n], the only items that are ranked for a user; None: every item that is not in train.
    age: float32 [users, items], where train is: 1 at a user's latest item, 2 at the one before it, and so on; None: the
    file does not tell.
    """

    train: sparse.csr_array
    held: sparse.csr_array
    candidates: np.ndarray | None = None
    age: sparse.csr_array | None = None


@dataclass(frozen=True)
class Splits:
    """choose: validation, carved out of train, for the honest protocol. final: the published test, asked once."""

    name: str
    choose: Split
    final: Split


def read(name: str, data_dir: Path | None) -> Splits:
    folder = locate(name, data_dir)
    return {"gowalla": _gowalla, "lightgcnpp_ml-1m": _lightgcnpp, "ncf": _ncf}[name](folder)


def locate(name: str, data_dir: Path | None) -> Path:
    """The split's folder: `data_dir`, else $TWO_TOWER_DATA/<folder>."""
    root = os.environ.get("TWO_TOWER_DATA")
    folder = data_dir or (Path(root) / FOLDERS[name] if root else None)
    if folder is None or not folder.is_dir():
        asked = folder or f"no folder is named for {name}"
        raise SystemExit(f"{asked}: not found. Pass --data-dir, or set TWO_TOWER_DATA to the folder above it.")
    return folder


def _gowalla(folder: Path) -> Splits:
    """Validation is the last fifth of each user's train items, as the test is the last fifth of all.

    So its authors say (issue 19 of the NGCF repository), and train shows it by itself: neighbours in a line are the
    most alike, and items that have lost most of their interactions to the test are at the ends of the lines.
    """
    train, test = (_lines(folder / f"{name}.txt.gz") for name in ("train", "test"))
    shape = _shape(train, test)
    chosen = in_time(*train, shape, KEPT)
    return Splits("gowalla", chosen, Split(_ones(*train, shape), _ones(*test, shape), age=_age(*train, shape)))


def _lightgcnpp(folder: Path) -> Splits:
    """Its code trains on train.txt alone and masks only that: the test has validation items among its candidates."""
    train, valid, test = (_lines(folder / f"{name}.txt.gz") for name in ("train", "valid", "test"))
    shape = _shape(train, valid, test)
    learned = _ones(*train, shape)
    return Splits("lightgcnpp_ml-1m", Split(learned, _ones(*valid, shape)), Split(learned, _ones(*test, shape)))


def _ncf(folder: Path, seed: int = 0) -> Splits:
    """Validation: one random training item a user among 99 random items that the user has not taken.

    The test holds each user's last item, but the training file gives no order to take the last but one from.
    """
    train = np.loadtxt(folder / "ml-1m.train.rating.notime.gz", dtype=np.int64, usecols=(0, 1)).T
    with gzip.open(folder / "ml-1m.test.negative.gz", "rt") as lines:
        rows = [line.rstrip("\n").split("\t") for line in lines]
    user, item = np.array([ast.literal_eval(row[0]) for row in rows]).T
    wrong = np.array([row[1:] for row in rows], dtype=np.int64)
    assert wrong.shape[1] == NEGATIVES and (user == np.arange(len(user))).all()
    shape = (max(train[0].max(), user.max()) + 1, max(train[1].max(), item.max(), wrong.max()) + 1)
    learned, held = _ones(*train, shape), _ones(user, item, shape)
    final = Split(learned, held, np.column_stack([item, wrong]))
    return Splits("ncf", carved(learned, held, seed), final)


def carved(train: sparse.csr_array, test: sparse.csr_array, seed: int) -> Split:
    """One item a user of train set aside, with 99 items that are in neither train nor test."""
    rng = np.random.default_rng(seed)
    counts = np.diff(train.indptr)
    item = train.indices[train.indptr[:-1] + (rng.random(train.shape[0]) * counts).astype(np.int64)]
    held = _ones(np.arange(train.shape[0]), item, train.shape)
    taken = (train + test).toarray() > 0
    wrong = np.stack([rng.choice(np.flatnonzero(~row), NEGATIVES, replace=False) for row in taken])
    rest = sparse.csr_array(train - held)
    rest.eliminate_zeros()
    return Split(rest, held, np.column_stack([item, wrong]))


def in_time(user: np.ndarray, item: np.ndarray, shape: tuple[int, int], kept: float) -> Split:
    """Each user's items, the oldest first: of these the share `kept`, rounded down, to learn from, the rest held."""
    counts = np.bincount(user, minlength=shape[0])
    early = counts[user] - _from_last(user) < np.floor(kept * counts)[user]
    first, rest = (user[early], item[early]), (user[~early], item[~early])
    return Split(_ones(*first, shape), _ones(*rest, shape), age=_age(*first, shape))


def _age(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    age = sparse.csr_array((_from_last(user).astype(np.float32), (user, item)), shape=shape)
    assert age.nnz == len(user), "a pair is named once"
    return age


def _from_last(user: np.ndarray) -> np.ndarray:
    """1 at a user's last pair, 2 at the one before it, and so on; the pairs of a user follow each other."""
    assert (np.diff(user) >= 0).all(), "users are in order"
    ends = np.cumsum(np.bincount(user))
    return np.asarray(ends[user] - np.arange(len(user)))


def block_world(groups: int = 4, users: int = 30, items: int = 12, seed: int = 0) -> Splits:
    """Each group likes its own items and no others, all but two or four of which are known: the rest can be told."""
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.tile(np.arange(items), (groups * users, 1)), axis=1)
    order += (np.arange(groups * users) % groups * items)[:, None]
    user = np.arange(groups * users)

    def matrix(columns: slice) -> sparse.csr_array:
        taken = order[:, columns]
        return _ones(np.repeat(user, taken.shape[1]), taken.ravel(), (groups * users, groups * items))

    return Splits(
        "block-world",
        Split(matrix(slice(4, None)), matrix(slice(2, 4))),
        Split(matrix(slice(2, None)), matrix(slice(2))),
    )


def _lines(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Users and items of the pairs."""
    with gzip.open(path, "rt") as lines:
        rows = [np.array(line.split(), dtype=np.int64) for line in lines if line.strip()]
    user = np.repeat([row[0] for row in rows], [len(row) - 1 for row in rows])
    return user, np.concatenate([row[1:] for row in rows])


def _shape(*pairs: tuple[np.ndarray, np.ndarray]) -> tuple[int, int]:
    return max(int(user.max()) for user, _ in pairs) + 1, max(int(item.max()) for _, item in pairs) + 1


def _ones(user: np.ndarray, item: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """Ones at these pairs, however often a pair is named."""
    matrix = sparse.csr_array((np.ones(len(user), np.float32), (user, item)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
