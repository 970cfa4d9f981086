from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.raw import movielens_1m, movielens_100k, real
from two_tower.datasets.movielens import load_1m, load_100k
from two_tower.errors import InputError


def second(n: int) -> datetime:
    return datetime.fromtimestamp(n, UTC)


def test_100k_tables(tmp_path: Path) -> None:
    tables = load_100k(movielens_100k(tmp_path))
    assert tables.users.to_pylist()[0] == {
        "user_id": 1,
        "event_timestamp": second(880000100),
        "age": 24,
        "gender": "M",
        "occupation": "technician",
        "zip_region": "8",
    }
    film = tables.items.to_pylist()[0]
    assert (film["item_id"], film["item"], film["title"]) == (1, 1, "Toy Story (1995)")
    assert (film["title_words"], film["genres"], film["year"]) == (["toy", "story"], ["Animation", "Comedy"], 1995)
    assert film["released"] == datetime(1995, 1, 1, tzinfo=UTC)
    assert tables.interactions.to_pylist()[0] == {
        "user_id": 1,
        "item_id": 1,
        "event_timestamp": second(880000100),
        "rating": 5.0,
    }
    assert tables.interactions["event_timestamp"].to_pylist() == sorted(
        tables.interactions["event_timestamp"].to_pylist()
    )


def test_a_film_exists_from_its_release_the_start_of_the_data_or_an_earlier_rating(tmp_path: Path) -> None:
    items = load_100k(movielens_100k(tmp_path)).items
    known = dict(zip(items["item_id"].to_pylist(), items["event_timestamp"].to_pylist(), strict=True))
    assert known[1] == second(880000100)  # out in 1995: there when the data start
    assert known[2] == datetime(1997, 12, 1, tzinfo=UTC)  # came out later, rated after that
    assert known[3] == second(880000300)  # rated before its release
    assert items["released"].to_pylist()[3] is None
    assert items["year"].to_pylist()[3] is None


def test_1m_tables(tmp_path: Path) -> None:
    tables = load_1m(movielens_1m(tmp_path))
    assert tables.users.to_pylist()[0] == {
        "user_id": 1,
        "event_timestamp": second(978300000),
        "gender": "F",
        "age_band": 1,
        "occupation": 10,
        "zip_region": "4",
    }
    assert tables.items.num_rows == 3  # a film that nobody rated is in the catalogue too
    assert tables.items["genres"].to_pylist()[0] == ["Animation", "Children's", "Comedy"]
    assert tables.items["title_words"].to_pylist()[2] == ["misérables", "les"]
    assert tables.interactions.num_rows == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ratings.dat", "", r"ratings\.dat is empty"),
        ("ratings.dat", "1::1::5::978300000\n1::2::4\n", r"ratings\.dat, line 2: 3 fields instead of 4"),
        (
            "ratings.dat",
            "1::1::5::978300000\n2::1::4::9783",
            r"ratings\.dat is truncated: it ends in the middle of line 2",
        ),
        ("ratings.dat", "1::1::5::978300000\n2::1::x::1\n", r"ratings\.dat, line 2: rating 'x' is not valid"),
        ("ratings.dat", "1::1::5::978300000\n2::9::4::1\n", r"ratings\.dat, line 2: film '9' is not in .*movies\.dat"),
        ("ratings.dat", "1::1::5::978300000\n", r"ratings\.dat is truncated after line 1.* user '2'"),
        ("users.dat", "1::F::old::10::48067\n2::M::25::15::55117\n", r"users\.dat, line 1: age band 'old'"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    folder = movielens_1m(tmp_path)
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        load_1m(folder)


@pytest.mark.slow
def test_the_real_files() -> None:
    small, large = load_100k(real("ml-100k")), load_1m(real("ml-1m"))
    counts = [(t.users.num_rows, t.items.num_rows, t.interactions.num_rows) for t in (small, large)]
    assert counts == [(943, 1_682, 100_000), (6_040, 3_883, 1_000_209)]
