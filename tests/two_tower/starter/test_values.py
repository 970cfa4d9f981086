from datetime import UTC, datetime

import pyarrow as pa
import pytest

from two_tower.errors import InputError
from two_tower.starter.values import kind_of, read_as

NOON = datetime(2024, 1, 31, 12, tzinfo=UTC)


def column(*values: object) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(list(values))])


@pytest.mark.parametrize(
    ("values", "kind", "first"),
    [
        (("1", "2", None), "integer", 1),
        (("17850.0", "2.0"), "integer", 17850),
        (("900719925474099301", "1"), "integer", 900719925474099301),
        (("007", "8"), "text", "007"),
        (("1.5", "-2e3"), "number", 1.5),
        (("3,99", "1.234,5"), "number 1.234,5", pytest.approx(3.99)),
        (("1,234", "12.5"), "number 1,234.5", 1234.0),
        (("12345678901234567890", "1"), "text", "12345678901234567890"),
        (("[0.5, 1]", "[2, 3]"), "vector", [0.5, 1.0]),
        (("['a', 'b']", "[]"), "list []", ["a", "b"]),
        (("N1 N2", "N3"), "list  ", ["N1", "N2"]),
        (("yes", "No"), "flag", True),
        (("Bonn", "Köln"), "text", "Bonn"),
        (("85123A", "12"), "text", "85123A"),
        (("2024-01-31 12:00:00", "2024-02-01 00:00:00"), "time iso", NOON),
        (("2024-01-31T13:00:00+01:00", "2024-02-01T00:00:00Z"), "time iso", NOON),
        (("01/31/2024 12:00", "02/01/2024 1:05"), "time %m/%d/%Y %H:%M", NOON),
        (("31/01/2024 12:00", "01/02/2024 1:05"), "time %d/%m/%Y %H:%M", NOON),
        (("31.01.2024 12:00:00", "01.02.2024 01:05:00"), "time %d.%m.%Y %H:%M:%S", NOON),
        (("31-Jan-2024", "01-Feb-2024"), "time %d-%b-%Y", NOON.replace(hour=0)),
    ],
)
def test_a_text_is_read_as_what_it_holds(values: tuple[str, ...], kind: str, first: object) -> None:
    texts = column(*values)
    assert kind_of(texts, "x", from_text=True) == kind
    assert read_as(texts, "x", kind).array[0].as_py() == first


@pytest.mark.parametrize(("unit", "per"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_a_number_is_a_time_where_its_name_says_so_too(unit: str, per: int) -> None:
    numbers = column(int(NOON.timestamp()) * per, int(NOON.timestamp()) * per + per)
    assert kind_of(numbers, "created_at", from_text=False) == f"time {unit}"
    assert kind_of(numbers, "session", from_text=False) == "integer"
    assert read_as(numbers, "created_at", f"time {unit}").array[0].as_py() == NOON


def test_a_few_values_may_be_lost_and_not_more() -> None:
    told = read_as(column(*map(str, range(200)), "?"), "age", "integer")
    assert (told.lost, told.example, told.array[-1].as_py()) == (1, "?", None)
    assert kind_of(column(*map(str, range(200)), "?"), "age", from_text=True) == "integer"
    assert kind_of(column(*map(str, range(20)), "?"), "age", from_text=True) == "text"
    with pytest.raises(InputError, match=r"'age'.* such as '\?'"):
        read_as(column(*map(str, range(20)), "?"), "age", "integer")


def test_typed_columns_keep_their_types() -> None:
    assert kind_of(column("7", "8"), "code", from_text=False) == "text"
    assert kind_of(column(1.0, None, 3.0), "n", from_text=False) == "integer"
    assert kind_of(column(NOON), "n", from_text=False) == "time as is"
    assert kind_of(column(["a"]), "n", from_text=False) == "as is"
    assert kind_of(column(2**63 - 1, 1), "n", from_text=False) == "text"
    assert read_as(column(1.5, float("inf"), float("nan")), "n", "number").array.to_pylist() == [1.5, None, None]
    assert read_as(column(1.0, None, 3.0), "n", "text").array.to_pylist() == ["1", None, "3"]
