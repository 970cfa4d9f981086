import random

import pyarrow as pa
import pytest

from two_tower.schema import Dtype
from two_tower.starter.encode import use_of

CHANCE = random.Random(0)
WORDS = [f"w{chr(97 + i)}{chr(97 + j)}" for i in range(8) for j in range(8)]
SENTENCES = [" ".join(CHANCE.sample(WORDS, 4)) for _ in range(300)]
GENRES = ["|".join(CHANCE.sample(["Drama", "War", "Comedy", "Crime"], 2)) for _ in range(300)]


@pytest.mark.parametrize(
    ("name", "values", "dtype", "tags"),
    [
        ("age", list(range(20, 80)) * 5, Dtype.INT64, {}),
        ("adult", [0, 1] * 150, Dtype.INT64, {}),
        ("os", [1, 2, 20] * 100, Dtype.INT64, {"encoding": "categorical"}),
        ("zip_code", [*range(200), *range(100)], Dtype.INT64, {"encoding": "categorical", "min_count": "2"}),
        ("price", [1.0, 2.0, 4.5, 900.0] * 75, Dtype.FLOAT32, {"encoding": "bucketized", "buckets": "16"}),
        ("score", [CHANCE.gauss(0, 1) for _ in range(300)], Dtype.FLOAT32, {}),
        ("city", ["Bonn", "New York"] * 150, Dtype.STRING, {}),
        ("title", SENTENCES, Dtype.STRINGS, {"min_count": "2"}),
        ("product_name", [f"name{n}" for n in range(300)], Dtype.STRINGS, {"min_count": "2"}),
        ("genres", GENRES, Dtype.STRINGS, {}),
        ("tags", [["a", "b"], ["c"]] * 150, Dtype.STRINGS, {}),
        ("image", [[0.5, 1.0], [2.0, 3.0]] * 150, Dtype.FLOATS, {}),
        ("member", [True, False] * 150, Dtype.BOOL, {}),
    ],
)
def test_what_a_column_becomes(name: str, values: list[object], dtype: Dtype, tags: dict[str, str]) -> None:
    use = use_of(pa.chunked_array([pa.array(values)]), name, from_text=False)
    assert (use.dtype, dict(use.tags)) == (dtype, tags), use.why


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([None] * 300, "no values"),
        (["EUR"] * 300, "always 'EUR'"),
        ([f"https://shop/{n}" for n in range(300)], "URLs or paths"),
        ([f"name{n}" for n in range(300)], "a different value"),
        ([[1.0] * (1 + n % 2) for n in range(300)], "neither a bag nor a vector"),
        ([{"a": 1}] * 300, "struct"),
    ],
)
def test_an_unused_column_has_a_reason(values: list[object], reason: str) -> None:
    use = use_of(pa.chunked_array([pa.array(values)]), "x", from_text=False)
    assert use.dtype is None
    assert reason in use.why


def test_the_old_index_of_a_frame_is_not_a_feature() -> None:
    use = use_of(pa.chunked_array([pa.array(range(0, 600, 2))]), "index", from_text=False)
    assert use.dtype is None and "a different value" in use.why
