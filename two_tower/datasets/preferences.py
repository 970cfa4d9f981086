"""The true preferences of the simulated users of `world`, which give the best possible recall of a model."""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """The true preferences. Days are fractional and count from `START`; days before it are negative.

    Attributes:
        wants: (users, traits) user vectors at the start, without novelty and popularity.
        wants_later: (users, traits) user vectors after `swapped_on`.
        swapped_on: (users,) day on which the preferences change.
        signed_up: (users,) day of the sign-up.
        novelty_wanted: (users,) weight of novelty.
        has: (items, traits) item vectors, without novelty and popularity, which change over time.
        listed: (items,) day from which the item exists.
        popularity: (items,) mean popularity.
        swing: (items,) amplitude of the popularity over time.
        phase: (items,) phase of the popularity, in periods.
    """

    wants: Array
    wants_later: Array
    swapped_on: Array
    signed_up: Array
    novelty_wanted: Array
    has: Array
    listed: Array
    popularity: Array
    swing: Array
    phase: Array

    def scores(self, user_ids: Array, item_ids: Array, seconds: Array) -> Array:
        """Return the true log-preferences, up to a constant for each event.

        Args:
            user_ids: (events,) user ids, such as "u00042".
            item_ids: (items,) item ids, such as "i00007".
            seconds: (events,) int64, seconds since 1970.

        Returns:
            (events, items) float32.
        """
        users, items = numbers(user_ids), numbers(item_ids)
        days = (np.asarray(seconds) - START) // DAY
        result = np.empty((len(users), len(items)), np.float32)
        for day in np.unique(days):
            rows = np.flatnonzero(days == day)
            result[rows] = self.on_day(users[rows], int(day))[:, items]
        return result

    def on_day(self, users: Array, day: int) -> Array:
        """Return the log-preferences of users for all items on one day.

        Args:
            users: (users,) int64 user numbers.
            day: The day, counted from `START`.

        Returns:
            (users, all items) float32.
        """
        later = 1 / (1 + np.exp(-(day - self.swapped_on[users]) / 3))
        wants = self.wants[users] + (self.wants_later[users] - self.wants[users]) * later[:, None]
        newcomer = np.exp(-np.maximum(day - self.signed_up[users], 0) / 30)
        user_side = np.column_stack([wants, self.novelty_wanted[users], 1 + 0.5 * newcomer])
        novelty = np.exp(-np.maximum(day - self.listed, 0) / 14)
        trend = self.popularity + self.swing * np.sin(2 * np.pi * (day / 120 + self.phase))
        item_side = np.column_stack([self.has, novelty, trend])
        return (user_side.astype(np.float32) @ item_side.astype(np.float32).T).astype(np.float32)

    def write(self, folder: Path) -> None:
        """Write oracle.npz to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "oracle.npz", **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def read(cls, folder: Path) -> "Oracle":
        """Read an oracle from a folder that `write` wrote."""
        with np.load(folder / "oracle.npz") as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def numbers(ids: Array) -> Array:
    """Return the numbers in ids such as "u00042"; (ids,) int64."""
    return np.fromiter((int(str(i)[1:]) for i in ids), np.int64, len(ids))
