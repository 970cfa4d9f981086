"""The time line: where training ends, where the test window begins, and when the index is refreshed."""

from datetime import UTC, datetime, timedelta

import numpy as np

from two_tower.config import PullConfig
from two_tower.data.pulled import Bounds, Split
from two_tower.errors import InputError
from two_tower.inputs import Array

LEAST_ROWS = 20  # in each window; with fewer no metric means anything
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


Ends = tuple[datetime, datetime]  # of the training window and of the validation window


def bounds(micros: Array, config: PullConfig, as_of: datetime, ends: Ends | None = None) -> Bounds:
    """The instants that cut the interactions into training, validation and test rows.

    micros: microseconds since 1970 of each interaction, int64, ascending. A bound is the time of the interaction at a
    quantile, and rows of that very instant lie behind it, so one instant is never on both sides.
    ends: given, they are the bounds instead, and windows may be of any size.
    Raises InputError where a window holds fewer than LEAST_ROWS interactions.
    """
    train_end, validation_end = _ends(micros, config) if ends is None else map(_to_micros, ends)
    test_window = np.linspace(validation_end, _to_micros(as_of), config.index_refreshes + 2).astype(np.int64)
    return Bounds(
        train_end=_to_datetime(train_end),
        validation_end=_to_datetime(validation_end),
        as_of=as_of,
        snapshots=(_to_datetime(train_end), *map(_to_datetime, test_window[:-1]), as_of),
    )


def _ends(micros: Array, config: PullConfig) -> tuple[int, int]:
    places = [int(len(micros) * share) for share in _shares(config)]
    train_end, validation_end = (int(micros[min(place, len(micros) - 1)]) for place in places)
    cuts = np.searchsorted(micros, [train_end, validation_end])
    sizes = dict(zip(Split, np.diff([0, *cuts, len(micros)]).tolist(), strict=True))
    for window, size in sizes.items():
        if size < LEAST_ROWS:
            raise InputError(
                f"the {window} window has {size} of {len(micros)} interactions; at least {LEAST_ROWS} are needed. "
                "Change train_fraction or validation_fraction, or bring more interactions, at more than a few instants."
            )
    return train_end, validation_end


def labels(micros: Array, at: Bounds) -> Array:
    """The window of each interaction, [interactions] of str."""
    cuts = [_to_micros(at.train_end), _to_micros(at.validation_end)]
    return np.array([s.value for s in Split], dtype=object)[np.searchsorted(cuts, micros, side="right")]


def _shares(config: PullConfig) -> tuple[float, float]:
    return config.train_fraction, config.train_fraction + config.validation_fraction


def _to_micros(instant: datetime) -> int:
    return (instant - _EPOCH) // timedelta(microseconds=1)


def _to_datetime(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(micros))
