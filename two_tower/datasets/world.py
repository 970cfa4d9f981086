"""The simulation behind the data set `sample`: user preferences, items, and interactions.

The log-preference of a user for an item is an inner product of a user vector and an item vector, which depend on the
day:

    category       two favourites per user; 5 % of the users replace one of them during the simulation
    style          four latent numbers; those of a user depend mainly on the segment, those of an item affect its image
    origin, brand  a bonus for items from the user's country, and for brands that the user follows
    price, youth   multiplied by income, and by age
    climate        climate of the user's city, multiplied by the warmth of the item's attributes
    daypart        morning or evening, for users and items
    exclusive      a bonus for members
    novelty        a bonus for new items that fades within weeks, for users with medium engagement
    popularity     of item, brand and seller; it changes over months, and has more effect on new users

In each visit a user interacts with a few items that exist and are new to the user, drawn by Gumbel top-k (Kool et al.,
ICML 2019): sampling without replacement in proportion to exp(preference). The preferences are known, and with them the
best possible recall of a model: `Oracle`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from two_tower.datasets.preferences import DAY, START, Oracle

Array = npt.NDArray[Any]

DAYS = 90
USERS, ITEMS = 3_000, 2_000
CATEGORIES, STYLES, COUNTRIES, BRANDS, CITIES, SELLERS, ATTRIBUTES, SEGMENTS = 12, 4, 6, 8, 30, 40, 20, 6
LIKING, STYLE, HOME, FOLLOWED, POPULARITY = 8.0, 0.5, 0.8, 0.5, 3.0
PER_VISIT, MOST = 3.0, 12  # the mean and the maximum number of items in a visit


@dataclass(frozen=True, kw_only=True)
class Users:
    """Traits of the users, (users,) or (users, traits) each. `sample` derives the observable features from them."""

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
    """Traits of the items, (items,) or (items, traits) each. `sample` derives the observable features from them."""

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
    """Draw the traits of all users."""
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
    """Draw the traits of all items."""
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
    """Compute the user and item vectors of the inner product; see the module's docstring.

    Args:
        users: The traits of the users.
        items: The traits of the items.

    Returns:
        The true preferences.
    """

    def wants(favourites: Array) -> Array:
        return np.column_stack(
            [
                _scatter(favourites, CATEGORIES, np.full(2, LIKING)),
                STYLE * users.style,
                _scatter(users.country[:, None], COUNTRIES, np.array([HOME])),
                _scatter(users.followed, BRANDS, np.full(2, FOLLOWED)),
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
    """Simulate the interactions.

    Args:
        rng: The random number generator.
        users: The traits of the users.
        oracle: The true preferences.
        per_day: The mean number of interactions per day of a user who signed up before the start.

    Returns:
        User numbers, item numbers and seconds since 1970, each (events,) int64, in order of days.
    """
    seen = np.zeros((USERS, ITEMS), bool)
    activity = rng.lognormal(0, 0.6, USERS)
    chance = np.clip(activity / activity.mean() * per_day / PER_VISIT, 0, 0.9)
    events: list[tuple[Array, Array, Array]] = []
    for day in range(DAYS):
        visitors = np.flatnonzero((users.signed_up < day) & (rng.random(USERS) < chance))
        sizes = 1 + np.minimum(rng.poisson(PER_VISIT - 1, len(visitors)), MOST - 1)
        noise = np.maximum(rng.standard_exponential((len(visitors), ITEMS), dtype=np.float32), 1e-30)
        keys = np.log(noise) - oracle.on_day(visitors, day)
        keys[:, oracle.listed >= day] = np.inf
        keys[seen[visitors]] = np.inf
        best = np.argpartition(keys, MOST, axis=1)[:, :MOST]
        best = np.take_along_axis(best, np.argsort(np.take_along_axis(keys, best, axis=1), axis=1), axis=1)
        kept = np.arange(MOST) < sizes[:, None]
        start = np.clip(rng.normal(users.hour[visitors], 1.0) % 24, 0, 22.5) * 3600
        seconds = start[:, None] + np.cumsum(rng.integers(20, 300, best.shape), axis=1)
        user, item = np.repeat(visitors, sizes), best[kept]
        seen[user, item] = True
        events.append((user, item, START + day * DAY + seconds[kept].astype(np.int64)))
    user, item, time = (np.concatenate(column) for column in zip(*events, strict=True))
    return user, item, time


def _scatter(columns: Array, width: int, values: Array) -> Array:
    """Write `values` at the given columns of each row, and zero elsewhere: (rows, width)."""
    matrix = np.zeros((len(columns), width))
    np.put_along_axis(matrix, columns, np.broadcast_to(values, columns.shape), axis=1)
    return matrix


def _clock(hour: Array) -> Array:
    """Return an hour of the day as a point on the unit circle, (rows, 2)."""
    angle = 2 * np.pi * hour / 24
    return np.column_stack([np.cos(angle), np.sin(angle)])
