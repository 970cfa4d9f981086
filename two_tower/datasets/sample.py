"""The data set `sample`: a simulated shop with features of every encoding.

The features have gaps and noise, as in real data: interests change later than preferences, a fifth of the incomes and a
tenth of the ratings are missing, and the effects of cities and sellers must be learned from their names.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets import world
from two_tower.datasets.preferences import DAY, START, Oracle
from two_tower.datasets.tables import ITEM_KEY, TIMESTAMP, USER_KEY, Tables
from two_tower.datasets.world import Items, Users

Array = npt.NDArray[Any]

COUNTRIES = ("germany", "france", "poland", "spain", "italy", "sweden")
CATEGORIES = (
    *("art", "books", "camping", "ceramics", "cycling", "games"),
    *("garden", "knitwear", "lamps", "music", "tea", "toys"),
)
STYLE_WORDS = ("plain ornate", "bright muted", "rustic modern", "delicate sturdy")
ITEMS_PER_DAY = 1.0
IMAGE = 16


def load(seed: int = 0) -> Tables:
    """Simulate 3,000 users, 2,000 items and about 240,000 interactions over 90 days.

    Args:
        seed: The seed. The same seed gives the same data.

    Returns:
        Users, items and interactions.
    """
    users, items = _traits(seed)
    truth = world.make_oracle(users, items)
    user, item, seconds = world.simulate(np.random.default_rng([seed, 2]), users, truth, ITEMS_PER_DAY)
    order = np.lexsort((item, user, seconds))
    interactions = {
        USER_KEY: _ids("u", user[order]),
        ITEM_KEY: _ids("i", item[order]),
        EVENT_TIMESTAMP: _stamps(seconds[order]),
        "weight": pa.array(np.ones(len(order)), pa.float32()),
    }
    return Tables(
        users=_user_table(users, np.random.default_rng([seed, 3])),
        items=_item_table(items, np.random.default_rng([seed, 4])),
        interactions=pa.table(interactions),
    )


def oracle(seed: int = 0) -> Oracle:
    """Return the true preferences of the simulation with the same seed."""
    return world.make_oracle(*_traits(seed))


def _traits(seed: int) -> tuple[Users, Items]:
    return world.make_users(np.random.default_rng([seed, 0])), world.make_items(np.random.default_rng([seed, 1]))


def _user_table(users: Users, rng: np.random.Generator) -> pa.Table:
    """Return one row per user at sign-up, and a later row for most of the users whose favourites change."""
    count = world.USERS
    city_name = np.array([f"city-{n:02d}" for n in rng.permutation(world.CITIES)])
    visit = users.signed_up.astype(int) * DAY + (users.hour % 24 * 3600).astype(int) + START
    income = np.where(rng.random(count) < 0.2, np.nan, 30_000 * np.exp(0.4 * users.income))
    first = {
        USER_KEY: _ids("u", np.arange(count)),
        EVENT_TIMESTAMP: _stamps(START + users.signed_up * DAY),
        "country": pa.array([COUNTRIES[c] for c in users.country]),
        "city": pa.array(city_name[users.city]),
        "age": pa.array(users.age, pa.int64()),
        "segment": pa.array(users.segment * 10 + 100, pa.int64()),
        "income": pa.array(income, pa.float32(), from_pandas=True),
        "visits_per_week": pa.array(users.engagement, pa.float32()),
        "member": pa.array(users.member),
        "signed_up": _stamps(START + users.signed_up * DAY),
        "usual_visit": _stamps(visit),
        "followed_brands": _lists(users.followed + 1, pa.int64()),
        "interests": _interests(users.favourites, rng),
    }
    changed = np.flatnonzero((users.favourites != users.favourites_later).any(axis=1) & (rng.random(count) < 0.9))
    changed = changed[users.signed_up[changed] < users.swapped_on[changed]]
    later = pa.table(first).take(changed)
    updated_at = _stamps(START + (users.swapped_on[changed] + rng.uniform(1, 5, len(changed))) * DAY)
    later = later.set_column(1, EVENT_TIMESTAMP, updated_at)
    position = later.column_names.index("interests")
    later = later.set_column(position, "interests", _interests(users.favourites_later[changed], rng))
    return pa.concat_tables([pa.table(first), later]).combine_chunks()


def _item_table(items: Items, rng: np.random.Generator) -> pa.Table:
    count = world.ITEMS
    seller_name = np.array([f"seller-{n:02d}" for n in rng.permutation(world.SELLERS)])
    rating = np.where(rng.random(count) < 0.1, np.nan, np.clip(3.0 + 0.7 * items.quality + 0.1 * _noise(rng), 1, 5))
    visible = np.column_stack([1.5 * items.style, np.eye(world.CATEGORIES)[items.category]])
    image = visible @ rng.normal(size=(visible.shape[1], IMAGE)) / 2 + 0.2 * rng.normal(size=(count, IMAGE))
    ids = _ids("i", np.arange(count))
    return pa.table(
        {
            ITEM_KEY: ids,
            EVENT_TIMESTAMP: _stamps(START + items.listed * DAY),
            "item": ids,
            "category": pa.array([CATEGORIES[c] for c in items.category]),
            "origin": pa.array([COUNTRIES[c] for c in items.origin]),
            "brand": pa.array(items.brand + 1, pa.int64()),
            "seller": pa.array(seller_name[items.seller]),
            "price": pa.array(20 * np.exp(0.5 * items.price), pa.float32()),
            "rating": pa.array(rating, pa.float32(), from_pandas=True),
            "youth": pa.array(items.youth + 0.1 * _noise(rng), pa.float32()),
            "exclusive": pa.array(items.exclusive),
            "listed": _stamps(START + items.listed * DAY),
            "daypart": pa.array(np.where(items.hour < 12, "morning", "evening")),
            "tags": _tags(items, rng),
            "attributes": _lists(items.attributes + 1, pa.int64()),
            "image": _lists(image.astype(np.float32), pa.float32()),
        }
    )


def _noise(rng: np.random.Generator) -> Array:
    return rng.normal(size=world.ITEMS)


def _interests(favourites: Array, rng: np.random.Generator) -> pa.Array:
    """Return the listed interests of each user: 97 % of the favourite categories, and sometimes another category."""
    named = rng.random(favourites.shape) < 0.97
    extra = rng.random(len(favourites)) < 0.1
    others = rng.integers(world.CATEGORIES, size=len(favourites))
    rows = [
        [CATEGORIES[c] for c in dict.fromkeys([*row[mask].tolist(), *([other] if more else [])])]
        for row, mask, more, other in zip(favourites, named, extra, others, strict=True)
    ]
    return pa.array(rows, pa.list_(pa.string()))


def _tags(items: Items, rng: np.random.Generator) -> pa.Array:
    """Return a word for each large style value, by its sign, and the name of the category for most items."""
    words = [pair.split() for pair in STYLE_WORDS]
    named = rng.random(world.ITEMS) < 0.7
    rows = [
        [words[k][int(value > 0)] for k, value in enumerate(style) if abs(value) > 0.3]
        + ([CATEGORIES[category]] if name else [])
        for style, category, name in zip(items.style, items.category, named, strict=True)
    ]
    return pa.array(rows, pa.list_(pa.string()))


def _ids(letter: str, rows: Array) -> pa.Array:
    return pa.array([f"{letter}{row:05d}" for row in rows.tolist()])


def _stamps(seconds: Array) -> pa.Array:
    return pa.array(np.asarray(seconds).astype(np.int64) * 1_000_000, pa.int64()).cast(TIMESTAMP)


def _lists(matrix: Array, kind: pa.DataType) -> pa.Array:
    return pa.array(list(matrix), pa.list_(kind))
