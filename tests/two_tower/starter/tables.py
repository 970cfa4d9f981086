"""A small shop as plain files, as a user might have them."""

import csv
import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

USERS, ITEMS, EVENTS = 30, 20, 400
START = datetime(2024, 1, 1, tzinfo=UTC)
PLACES = ("Bonn", "Köln", "Aachen")
WORDS = ("red", "blue", "old", "round", "small", "lamp", "chair", "table", "mirror", "carpet")


def write(path: Path, rows: Iterable[Sequence[object]], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file, delimiter=delimiter).writerows(rows)
    return path


def when(event: int) -> datetime:
    return START + timedelta(hours=7 * event)


def users(folder: Path) -> Path:
    """Joined before the first event; last_login lies after most events."""
    rows = [
        (
            f"c{n:03}",
            20 + n,
            PLACES[n % 3],
            f"2023-12-{1 + n % 9:02}",
            f"2024-0{5 + n % 3}-01",
            "yes" if n % 2 else "no",
            "EUR",
        )
        for n in range(USERS)
    ]
    head = ("id", "age", "city", "joined", "last_login", "newsletter", "currency")
    return write(folder / "customers.csv", [head, *rows])


def items(folder: Path) -> Path:
    chance = random.Random(1)
    rows = [
        (n, " ".join(chance.sample(WORDS, 3)), "|".join(chance.sample(PLACES, 2)), 2.5 * n + 1, f"https://shop/{n}")
        for n in range(ITEMS)
    ]
    return write(folder / "articles.csv", [("sku", "title", "made in", "price", "page"), *rows], delimiter=";")


def events(folder: Path, stamp: object = datetime.isoformat, count: int = EVENTS) -> Path:
    assert callable(stamp)
    chance = random.Random(2)
    rows = [
        (f"c{chance.randrange(USERS):03}", chance.randrange(ITEMS), stamp(when(n)), chance.randint(1, 5))
        for n in range(count)
    ]
    return write(folder / "orders.csv", [("customer", "sku", "ordered_at", "stars"), *rows])
