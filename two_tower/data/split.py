"""Split the interactions by time into training, validation and test rows, and set the times of the snapshots."""

from datetime import UTC, datetime, timedelta

import numpy as np

from two_tower.config import PullConfig
from two_tower.data.pulled import Bounds, Split
from two_tower.errors import InputError
from two_tower.inputs import Array

LEAST_ROWS = 20  # the minimum per split; with fewer rows metrics are meaningless
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Ends = tuple[datetime, datetime]  # the end of the training split and the end of the validation split


def bounds(micros: Array, config: PullConfig, as_of: datetime, ends: Ends | None = None) -> Bounds:
    """Return the times that separate training, validation and test rows.

    By default a bound is the time of the interaction at a quantile. Interactions at exactly this time belong to the
    later split, so interactions with the same timestamp are always in the same split.

    Args:
        micros: (interactions,) int64, microseconds since 1970, ascending.
        config: The fractions of the splits and the number of index refreshes.
        as_of: The end of the test window.
        ends: The bounds to use instead of the quantiles. The splits may then have any size.

    Returns:
        The bounds and the times of the snapshots.

    Raises:
        InputError: If `ends` is None and a split has fewer than LEAST_ROWS interactions.
    """
    train_end, validation_end = _ends(micros, config) if ends is None else map(to_micros, ends)
    test_window = np.linspace(validation_end, to_micros(as_of), config.index_refreshes + 2).astype(np.int64)
    snapshots = (_to_datetime(train_end), *map(_to_datetime, test_window[:-1]), as_of)
    return Bounds(
        train_end=_to_datetime(train_end),
        validation_end=_to_datetime(validation_end),
        as_of=as_of,
        snapshots=tuple(dict.fromkeys(snapshots)),  # the test window can be one instant, so that snapshots are equal
    )


def _ends(micros: Array, config: PullConfig) -> tuple[int, int]:
    positions = [int(len(micros) * share) for share in shares(config)]
    train_end, validation_end = (int(micros[min(position, len(micros) - 1)]) for position in positions)
    cuts = np.searchsorted(micros, [train_end, validation_end])
    check_sizes(np.diff([0, *cuts, len(micros)]), "or add interactions with more distinct timestamps.")
    return train_end, validation_end


def check_sizes(sizes: Array, remedy: str) -> None:
    """Check that no split is too small.

    Args:
        sizes: (3,) int64, the number of interactions of each split.
        remedy: End of the error message.

    Raises:
        InputError: If a split has fewer than LEAST_ROWS interactions.
    """
    for name, size in zip(Split, sizes.tolist(), strict=True):
        if size < LEAST_ROWS:
            raise InputError(
                f"the {name} split has {size} of {sizes.sum()} interactions; it needs at least {LEAST_ROWS}. Change "
                f"train_fraction or validation_fraction, {remedy}"
            )


def labels(micros: Array, at: Bounds) -> Array:
    """Return the split of each interaction.

    Args:
        micros: (interactions,) int64, microseconds since 1970.
        at: The bounds of the splits.

    Returns:
        (interactions,) object array of the values of `Split`.
    """
    cuts = [to_micros(at.train_end), to_micros(at.validation_end)]
    return np.array([s.value for s in Split], dtype=object)[np.searchsorted(cuts, micros, side="right")]


def shares(config: PullConfig) -> tuple[float, float]:
    """Return the share of the interactions up to the end of training, and up to the end of validation."""
    return config.train_fraction, config.train_fraction + config.validation_fraction


def to_micros(instant: datetime) -> int:
    """Return a time in microseconds since 1970."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _to_datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(micros))
