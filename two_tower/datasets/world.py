"""The simulated world behind data set `sample`: tastes, items, and who takes what, when.

A user's log-preference for an item is an inner product of what the user wants and what the item has on that day:

    category       two favourites a user; a twentieth of the users swap one in the course of the time
    style          four latent numbers; a user's follow mostly from the segment, an item's show in the image
    origin, brand  a bonus for the own country, and for brands that the user follows
    price, youth   times income, and times age
    climate        of the user's city, times the warmth of the item's attributes
    daypart        morning or evening habits, on both sides
    exclusive      for members
    novelty        a new item's bonus, fading in weeks, for users of middling engagement
    popularity     of item, brand and seller, rising and falling over the months; newcomers follow it more

Each visit takes a few items by Gumbel top-k over the items that exist and that the user has not taken (Kool et al.,
ICML 2019): drawing without replacement in proportion to exp(preference). Since the preferences are known, so is the
best recall that any model can reach: `Oracle`.
"""

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

START = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
DAY = 86_400
DAYS = 90
USERS, ITEMS = 3_000, 2_000
CATEGORIES, STYLES, COUNTRIES, BRANDS, CITIES, SELLERS, ATTRIBUTES, SEGMENTS = 12, 4, 6, 8, 30, 40, 20, 6
LIKING, STYLE, HOME, FOLLOWED, POPULARITY = 8.0, 0.5, 0.8, 0.5, 3.0
PER_VISIT, MOST = 3.0, 12  # items taken in a visit: on average, and at most


@dataclass(frozen=True, kw_only=True)
class Oracle:
    """The true preferences, as arrays over users [users, …] and items [items, …]. Days count from `START`.

    wants: what users want at first; wants_later: after `swapped_on` (a day).
    has: what items have; the columns of novelty and popularity, which change, stand apart.
    signed_up, listed: days, fractional, negative before the start.
    novelty_wanted: [users]. popularity, swing, phase: [items].
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
        """True log-preferences, float32 [events, items], up to a constant for each event.

        user_ids: [events], such as "u00042". item_ids: [items], such as "i00007". seconds: int64, [events].
        """
        users, items = numbers(user_ids), numbers(item_ids)
        days = (np.asarray(seconds) - START) // DAY
        result = np.empty((len(users), len(items)), np.float32)
        for day in np.unique(days):
            rows = np.flatnonzero(days == day)
            result[rows] = self.on_day(users[rows], int(day))[:, items]
        return result

    def on_day(self, users: Array, day: int) -> Array:
        """Log-preferences of user numbers for every item on a day, float32 [users, items]."""
        later = 1 / (1 + np.exp(-(day - self.swapped_on[users]) / 3))
        wants = self.wants[users] + (self.wants_later[users] - self.wants[users]) * later[:, None]
        newcomer = np.exp(-np.maximum(day - self.signed_up[users], 0) / 30)
        user_side = np.column_stack([wants, self.novelty_wanted[users], 1 + 0.5 * newcomer])
        novelty = np.exp(-np.maximum(day - self.listed, 0) / 14)
        trend = self.popularity + self.swing * np.sin(2 * np.pi * (day / 120 + self.phase))
        item_side = np.column_stack([self.has, novelty, trend])
        return (user_side.astype(np.float32) @ item_side.astype(np.float32).T).astype(np.float32)

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "oracle.npz", **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def read(cls, folder: Path) -> "Oracle":
        with np.load(folder / "oracle.npz") as arrays:
            return cls(**{f.name: arrays[f.name] for f in fields(cls)})


def numbers(ids: Array) -> Array:
    """Row numbers of ids such as "u00042"."""
    return np.fromiter((int(str(i)[1:]) for i in ids), np.int64, len(ids))


@dataclass(frozen=True, kw_only=True)
class Users:
    """Traits, [users] or [users, traits]; what of it a feature shows is `sample`'s matter."""

    favourites: Array
    favourites_later: Array
    swapped_on: Array
    segment: Array
    style: Array
    country: Array
    city: Array
    climate: Array
    followed: Array
    income: Array
    age: Array
    member: Array
    hour: Array
    engagement: Array
    signed_up: Array


@dataclass(frozen=True, kw_only=True)
class Items:
    """Traits, [items] or [items, traits]."""

    category: Array
    style: Array
    origin: Array
    brand: Array
    seller: Array
    price: Array
    youth: Array
    attributes: Array
    warmth: Array
    hour: Array
    exclusive: Array
    quality: Array
    popularity: Array
    swing: Array
    phase: Array
    listed: Array


def make_users(rng: np.random.Generator) -> Users:
    segment = rng.integers(SEGMENTS, size=USERS)
    segment_style = rng.normal(size=(SEGMENTS, STYLES))
    style = segment_style[segment] + 0.15 * rng.normal(size=(USERS, STYLES))
    picks = np.argsort(rng.random((USERS, CATEGORIES)), axis=1)
    favourites_later = picks[:, :2].copy()
    swaps = rng.random(USERS) < 0.05
    favourites_later[swaps, 0] = picks[swaps, 2]
    city = rng.integers(CITIES, size=USERS)
    newly = rng.random(USERS) < 0.2
    return Users(
        favourites=picks[:, :2],
        favourites_later=favourites_later,
        swapped_on=rng.uniform(0, DAYS, USERS),
        segment=segment,
        style=style / np.linalg.norm(style, axis=1, keepdims=True),
        country=rng.choice(COUNTRIES, USERS, p=np.array([8, 4, 3, 2, 2, 1]) / 20),
        city=city,
        climate=rng.normal(size=CITIES)[city],
        followed=np.argsort(rng.random((USERS, BRANDS)), axis=1)[:, :2],
        income=rng.normal(size=USERS),
        age=rng.integers(16, 80, USERS),
        member=rng.random(USERS) < 0.4,
        hour=rng.choice([8.0, 20.0], USERS) + rng.normal(scale=1.5, size=USERS),
        engagement=rng.gamma(2.0, 2.0, USERS),
        signed_up=np.where(newly, rng.uniform(0, DAYS - 1, USERS), -rng.exponential(200, USERS)),
    )


def make_items(rng: np.random.Generator) -> Items:
    style = rng.normal(size=(ITEMS, STYLES))
    brand, seller = rng.integers(BRANDS, size=ITEMS), rng.integers(SELLERS, size=ITEMS)
    attributes = np.argsort(rng.random((ITEMS, ATTRIBUTES)), axis=1)[:, :4]
    quality = rng.normal(size=ITEMS)
    newly = rng.random(ITEMS) < 0.2
    return Items(
        category=rng.integers(CATEGORIES, size=ITEMS),
        style=style / np.linalg.norm(style, axis=1, keepdims=True),
        origin=rng.integers(COUNTRIES, size=ITEMS),
        brand=brand,
        seller=seller,
        price=rng.normal(size=ITEMS),
        youth=rng.normal(size=ITEMS),
        attributes=attributes,
        warmth=rng.normal(size=ATTRIBUTES)[attributes].mean(axis=1),
        hour=rng.choice([8.0, 20.0], ITEMS),
        exclusive=rng.random(ITEMS) < 0.15,
        quality=quality,
        popularity=POPULARITY
        * (0.7 * quality + 0.4 * rng.normal(size=BRANDS)[brand] + 0.4 * rng.normal(size=SELLERS)[seller]),
        swing=rng.uniform(0, 0.4, ITEMS),
        phase=rng.random(ITEMS),
        listed=np.where(newly, rng.uniform(0, DAYS - 1, ITEMS), -rng.exponential(120, ITEMS)),
    )


def make_oracle(users: Users, items: Items) -> Oracle:
    """The two sides of the inner product; see the table at the top of this module."""

    def wants(favourites: Array) -> Array:
        return np.column_stack(
            [
                _spread(favourites, CATEGORIES, np.full(2, LIKING)),
                STYLE * users.style,
                _spread(users.country[:, None], COUNTRIES, np.array([HOME])),
                _spread(users.followed, BRANDS, np.full(2, FOLLOWED)),
                0.2 * users.income,
                (45 - users.age) / 90,
                0.2 * users.climate,
                0.15 * _clock(users.hour),
                0.3 * users.member,
            ]
        )

    has = np.column_stack(
        [
            np.eye(CATEGORIES)[items.category],
            items.style,
            np.eye(COUNTRIES)[items.origin],
            np.eye(BRANDS)[items.brand],
            items.price,
            0.5 * items.youth,
            items.warmth,
            _clock(items.hour),
            items.exclusive,
        ]
    )
    return Oracle(
        wants=wants(users.favourites),
        wants_later=wants(users.favourites_later),
        swapped_on=users.swapped_on,
        signed_up=users.signed_up,
        novelty_wanted=np.where((users.engagement > 2) & (users.engagement < 5), 1.5, 0.3),
        has=has,
        listed=items.listed,
        popularity=items.popularity,
        swing=items.swing,
        phase=items.phase,
    )


def simulate(rng: np.random.Generator, users: Users, oracle: Oracle, per_day: float) -> tuple[Array, Array, Array]:
    """Who took what, and when: user numbers, item numbers and seconds since 1970, int64 [events] each, by day.

    per_day: how many items a user takes a day, on average, who is there all the time.
    """
    taken = np.zeros((USERS, ITEMS), bool)
    activity = rng.lognormal(0, 0.6, USERS)
    chance = np.clip(activity / activity.mean() * per_day / PER_VISIT, 0, 0.9)
    events: list[tuple[Array, Array, Array]] = []
    for day in range(DAYS):
        visitors = np.flatnonzero((users.signed_up < day) & (rng.random(USERS) < chance))
        many = 1 + np.minimum(rng.poisson(PER_VISIT - 1, len(visitors)), MOST - 1)
        noise = np.maximum(rng.standard_exponential((len(visitors), ITEMS), dtype=np.float32), 1e-30)
        keys = np.log(noise) - oracle.on_day(visitors, day)
        keys[:, oracle.listed >= day] = np.inf
        keys[taken[visitors]] = np.inf
        best = np.argpartition(keys, MOST, axis=1)[:, :MOST]
        best = np.take_along_axis(best, np.argsort(np.take_along_axis(keys, best, axis=1), axis=1), axis=1)
        kept = np.arange(MOST) < many[:, None]
        opened = np.clip(rng.normal(users.hour[visitors], 1.0) % 24, 0, 22.5) * 3600
        moments = opened[:, None] + np.cumsum(rng.integers(20, 300, best.shape), axis=1)
        who, what = np.repeat(visitors, many), best[kept]
        taken[who, what] = True
        events.append((who, what, START + day * DAY + moments[kept].astype(np.int64)))
    who, what, moment = (np.concatenate(column) for column in zip(*events, strict=True))
    return who, what, moment


def _spread(places: Array, width: int, values: Array) -> Array:
    """`values` at each row's `places`, zero elsewhere: [rows, width]."""
    wide = np.zeros((len(places), width))
    np.put_along_axis(wide, places, np.broadcast_to(values, places.shape), axis=1)
    return wide


def _clock(hour: Array) -> Array:
    """An hour of the day as a point on the circle, [rows, 2]."""
    angle = 2 * np.pi * hour / 24
    return np.column_stack([np.cos(angle), np.sin(angle)])
