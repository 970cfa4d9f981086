"""The per-user holdout: the split of interactions that have no times.

The split of an interaction is drawn by a hash of its keys, so it does not change when other interactions are added. The
splits get times that are one microsecond apart. All code that asks what a user had seen before then sees the items of
the earlier splits.
"""

import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from two_tower.config import PullConfig
from two_tower.data.hashing import mix
from two_tower.data.pulled import EVENT_TIMESTAMP, SPLIT, Bounds, Split
from two_tower.data.split import check_sizes, shares, to_micros
from two_tower.inputs import ARROW_TYPES, Array
from two_tower.schema import Contract, Encoding

_MICROSECOND = timedelta(microseconds=1)


def split_per_user(
    rows: pa.Table, contract: Contract, config: PullConfig, known_until: datetime | None = None
) -> tuple[pa.Table, Bounds]:
    """Draw the split of each interaction, and set its time to that of its split.

    Repeated interactions of a user with an item are in one split. At least one item of each user is in training.

    Args:
        rows: The interactions: user key, item key, event_timestamp, weight.
        contract: The feature contract.
        config: The fractions of the splits and the seed.
        known_until: The time of the interactions that a model was fitted on. Later ones are the test rows, and all
            others are training rows. None: the split is drawn.

    Returns:
        The interactions with the column `split`, sorted by split and in random order within it, and the bounds. Their
        `as_of` is two microseconds after the newest time in `rows`.

    Raises:
        InputError: If a drawn split has too few interactions.
    """
    draw = _draws(rows, contract, config.split_seed)
    user = _codes(rows[contract.user_key])[0]
    least = np.ones(user.max() + 1)
    np.minimum.at(least, user, draw)
    micros = rows[EVENT_TIMESTAMP].cast(pa.int64()).to_numpy()
    if known_until is None:
        split = np.where(draw == least[user], 0, np.searchsorted(shares(config), draw, side="right"))
        check_sizes(np.bincount(split, minlength=len(Split)), "or add interactions.")
    else:
        split = np.where(micros > to_micros(known_until), 2, 0)
    newest = int(micros.max())
    stamps = pa.array(newest + split).cast(rows.schema.field(EVENT_TIMESTAMP).type)
    names = np.array([s.value for s in Split], dtype=object)[split]
    rows = rows.set_column(rows.column_names.index(EVENT_TIMESTAMP), EVENT_TIMESTAMP, stamps)
    rows = rows.append_column(SPLIT, pa.array(names, pa.string())).take(pa.array(np.lexsort((draw, split))))
    as_of = rows[EVENT_TIMESTAMP][-1].as_py()
    train_end = as_of - _MICROSECOND
    return rows, Bounds(
        train_end=train_end, validation_end=as_of, as_of=as_of, snapshots=(train_end, as_of), split="per_user"
    )


@dataclass(frozen=True)
class UserItems:
    """The distinct items of each user, from which the pull makes the history features of a per-user holdout.

    Attributes:
        items: (items,) item keys.
        item: (pairs,) int64 rows of `items`, by user, then in the order of the interactions.
        pair: (interactions,) int64, the pair of each interaction.
        begin: (interactions,) int64, the first pair of the interaction's user.
        end: (interactions,) int64, the end of the pairs that the user had before: those of earlier splits, and for a
            training row all those of training.
        train: (interactions,) bool, whether the interaction is a training row.
    """

    items: pa.Array
    item: Array
    pair: Array
    begin: Array
    end: Array
    train: Array

    @classmethod
    def of(cls, rows: pa.Table, contract: Contract) -> "UserItems":
        """Collect the items of the interactions that `split_per_user` returned."""
        (user, _), (item, items) = _codes(rows[contract.user_key]), _codes(rows[contract.item_key])
        split = _codes(rows[SPLIT])[0]  # 0, 1, 2: the rows are sorted by split
        _, first, number = np.unique(user * len(items) + item, return_index=True, return_inverse=True)
        order = np.lexsort((first, user[first]))
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        owner, of_pair = user[first][order], split[first][order]
        begin = np.searchsorted(owner, np.arange(user.max() + 1))
        known = np.stack([begin + np.bincount(owner[of_pair <= last], minlength=len(begin)) for last in (0, 0, 1)])
        return cls(items, item[first][order], place[number], begin[user], known[split, user], split == 0)

    def histories(self, start: int, stop: int, length: int) -> pa.Array:
        """Return the history of each interaction: items of its user that the model may know, without its own item.

        Args:
            start: The first interaction.
            stop: The end of the interactions.
            length: The maximum number of items.

        Returns:
            (stop - start,) lists of item keys; null for a user without another item.
        """
        begin, end, pair, train = (a[start:stop] for a in (self.begin, self.end, self.pair, self.train))
        first = np.maximum(begin, end - length - train)
        counts = end - first
        span = np.repeat(first - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        left_out = np.where(train, np.maximum(pair, first), -1)  # the own item, or one too many
        kept = span != np.repeat(left_out, counts)
        sizes = counts - train
        return pa.ListArray.from_arrays(
            pa.array(np.r_[0, np.cumsum(sizes)], pa.int32()),
            self.items.take(pa.array(self.item[span[kept]])),
            mask=pa.array(sizes == 0),
        )


def with_histories(features: pa.Table, items: UserItems, contract: Contract, start: int) -> pa.Table:
    """Replace the history features of some interactions by histories without held-out items.

    Args:
        features: The user features of the interactions from `start` on.
        items: The items of all users.
        contract: The feature contract.
        start: The first interaction.

    Returns:
        The features; those without the encoding `history` are unchanged.
    """
    for f in contract.user:
        if f.encoding == Encoding.HISTORY:
            lists = items.histories(start, start + features.num_rows, f.max_length).cast(ARROW_TYPES[f.dtype])
            features = features.set_column(features.column_names.index(f.name), features.schema.field(f.name), lists)
    return features


def _codes(column: pa.ChunkedArray) -> tuple[Array, pa.Array]:
    encoded = column.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary


def _draws(rows: pa.Table, contract: Contract, seed: int) -> Array:
    """Return a number in [0, 1) for each pair of user and item, (interactions,) float64."""
    hashed = np.full(rows.num_rows, seed, np.uint64)
    for key in (contract.user_key, contract.item_key):
        code, keys = _codes(rows[key])
        sums = np.array([zlib.crc32(str(k).encode()) for k in keys.to_pylist()], np.uint64)
        hashed = mix(hashed ^ sums[code])
    return hashed / 2.0**64
