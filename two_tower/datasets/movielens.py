"""MovieLens 100K and 1M (Harper and Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015).

Every rating is a positive, regardless of its stars: retrieval predicts the next film that a user watches, and users
rate films that they chose to watch. With high ratings only, watched films would become negatives. The column `rating`
has the stars, for use as weights.

A user exists from the first rating. A film exists from its release, but not before the start of the data, or from its
first rating if that is earlier (previews). All films of 1M were released before its first rating.
"""

import re
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from two_tower.data.pulled import EVENT_TIMESTAMP
from two_tower.datasets.delimited import column, read_fields, words
from two_tower.datasets.source import Source
from two_tower.datasets.tables import ITEM_KEY, TIMESTAMP, USER_KEY, Tables
from two_tower.errors import InputError

LICENCE = "research use, no redistribution; see the README in the archive"
ML_100K = Source(
    folder="ml-100k",
    files=(("u.data", "u.item", "u.user"),),
    url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
    sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    licence=LICENCE,
)
ML_1M = Source(
    folder="ml-1m",
    files=(("ratings.dat", "movies.dat", "users.dat"),),
    url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
    sha256="a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    licence=LICENCE,
)
GENRES_100K = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
_YEAR = re.compile(r"\((\d{4})\)\s*$")


def load_100k(folder: Path) -> Tables:
    """Load MovieLens 100K from u.data, u.item and u.user.

    Args:
        folder: The folder of the files.

    Returns:
        Users, items and interactions.

    Raises:
        InputError: If a file is not valid. The message names the file and the line.
    """
    people_path, film_path = folder / "u.user", folder / "u.item"
    people = read_fields(people_path, "|", 5)
    films = read_fields(film_path, "|", 5 + len(GENRES_100K))
    ratings = _ratings(folder / "u.data", "\t", people_path, people, film_path, films)
    released = pa.array(column(film_path, films, 2, "release date", _date), TIMESTAMP)
    columns = {
        **_film_columns(film_path, films, [_flagged(film[5:]) for film in films]),
        "released": released,
    }
    user_columns = {
        "age": pa.array(column(people_path, people, 1, "age", int), pa.int64()),
        "gender": [p[2] for p in people],
        "occupation": [p[3] for p in people],
        "zip_region": [p[4][:1] for p in people],
    }
    return _tables(people_path, people, user_columns, film_path, films, columns, released, ratings)


def load_1m(folder: Path) -> Tables:
    """Load MovieLens 1M from ratings.dat, movies.dat and users.dat.

    Args:
        folder: The folder of the files.

    Returns:
        Users, items and interactions.

    Raises:
        InputError: If a file is not valid. The message names the file and the line.
    """
    people_path, film_path = folder / "users.dat", folder / "movies.dat"
    people = read_fields(people_path, "::", 5)
    films = read_fields(film_path, "::", 3)
    ratings = _ratings(folder / "ratings.dat", "::", people_path, people, film_path, films)
    columns = _film_columns(film_path, films, [film[2].split("|") for film in films])
    user_columns = {
        "gender": [p[1] for p in people],
        "age_band": pa.array(column(people_path, people, 2, "age band", int), pa.int64()),
        "occupation": pa.array(column(people_path, people, 3, "occupation", int), pa.int64()),
        "zip_region": [p[4][:1] for p in people],
    }
    released = pa.nulls(len(films), TIMESTAMP)
    return _tables(people_path, people, user_columns, film_path, films, columns, released, ratings)


def _film_columns(path: Path, films: list[list[str]], genres: list[list[str]]) -> dict[str, object]:
    years = [_YEAR.search(film[1]) for film in films]
    return {
        "item": pa.array(column(path, films, 0, "film id", int), pa.int64()),
        "title": [film[1] for film in films],
        "title_words": [words(_YEAR.sub("", film[1])) for film in films],
        "genres": genres,
        "year": pa.array([int(y.group(1)) if y else None for y in years], pa.int64()),
    }


def _flagged(flags: list[str]) -> list[str]:
    return [name for name, flag in zip(GENRES_100K, flags, strict=True) if flag == "1"]


def _date(text: str) -> datetime | None:
    return datetime.strptime(text, "%d-%b-%Y").replace(tzinfo=UTC) if text else None


def _ratings(
    path: Path,
    separator: str,
    people_path: Path,
    people: list[list[str]],
    film_path: Path,
    films: list[list[str]],
) -> pa.Table:
    """Read the ratings, sorted by time. Check that all users and films are known and each user has a rating."""
    rows = read_fields(path, separator, 4)
    known = ({p[0] for p in people}, people_path, "user"), ({f[0] for f in films}, film_path, "film")
    for position, (keys, key_path, kind) in enumerate(known):
        if not keys.issuperset(row[position] for row in rows):
            number, key = next((n, row[position]) for n, row in enumerate(rows, start=1) if row[position] not in keys)
            raise InputError(
                f"{path}, line {number}: {kind} {key!r} is not in {key_path}. One of the two files is truncated; "
                "download the data set again."
            )
    without_rating = known[0][0] - {row[0] for row in rows}
    if without_rating:
        raise InputError(
            f"{path} is truncated after line {len(rows)}: it has no rating of user {min(without_rating)!r} of "
            f"{people_path} ({len(without_rating)} such users). Download the data set again."
        )
    seconds = pa.array(column(path, rows, 3, "timestamp", int), pa.int64())
    ratings = pa.table(
        {
            USER_KEY: pa.array(column(path, rows, 0, "user id", int), pa.int64()),
            ITEM_KEY: pa.array(column(path, rows, 1, "film id", int), pa.int64()),
            EVENT_TIMESTAMP: seconds.cast(pa.timestamp("s", tz="UTC")).cast(TIMESTAMP),
            "rating": pa.array(column(path, rows, 2, "rating", float), pa.float32()),
        }
    )
    return ratings.sort_by([(EVENT_TIMESTAMP, "ascending"), (USER_KEY, "ascending"), (ITEM_KEY, "ascending")])


def _tables(
    people_path: Path,
    people: list[list[str]],
    user_columns: dict[str, object],
    film_path: Path,
    films: list[list[str]],
    item_columns: dict[str, object],
    released: pa.Array,
    ratings: pa.Table,
) -> Tables:
    user_ids = pa.array(column(people_path, people, 0, "user id", int), pa.int64())
    item_ids = pa.array(column(film_path, films, 0, "film id", int), pa.int64())
    start = pc.min(ratings[EVENT_TIMESTAMP]).cast(pa.int64())  # Arrow compares integers here, not timestamps
    first = first_times(ratings, ITEM_KEY, item_ids).cast(pa.int64())
    known_from = pc.min_element_wise(pc.max_element_wise(released.cast(pa.int64()), start), first).cast(TIMESTAMP)
    return Tables(
        users=pa.table({USER_KEY: user_ids, EVENT_TIMESTAMP: first_times(ratings, USER_KEY, user_ids), **user_columns}),
        items=pa.table(
            {
                ITEM_KEY: item_ids,
                EVENT_TIMESTAMP: known_from,
                **item_columns,
            }
        ),
        interactions=ratings,
    )


def first_times(interactions: pa.Table, key: str, keys: pa.Array) -> pa.Array:
    """Return the time of the first interaction of each key.

    Args:
        interactions: The interactions.
        key: The column of the key.
        keys: (keys,) distinct keys.

    Returns:
        (keys,) timestamps; null for a key without interactions.
    """
    firsts = interactions.group_by(key).aggregate([(EVENT_TIMESTAMP, "min")])
    return firsts[f"{EVENT_TIMESTAMP}_min"].combine_chunks().take(pc.index_in(keys, firsts[key].combine_chunks()))
