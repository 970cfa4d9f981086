from pathlib import Path

import pytest

from two_tower.datasets.delimited import check_width, column, read_fields, words
from two_tower.errors import InputError


def test_fields_of_lines_in_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "films.dat"
    path.write_bytes(b"1::Mis\xe9rables::Drama\n2::Heat::Action\n")
    assert read_fields(path, "::", 3) == [["1", "Misérables", "Drama"], ["2", "Heat", "Action"]]


def test_a_row_of_another_width_is_named_by_its_line() -> None:
    with pytest.raises(InputError, match=r"a\.csv, line 2: 1 fields instead of 2, separated by ','"):
        check_width(Path("a.csv"), [["1", "2"], ["3"]], 2, ",")


def test_an_invalid_value_is_named_by_line_column_and_value() -> None:
    rows = [["1", "x"], ["2", "?"]]
    assert column(Path("a.csv"), rows, 0, "id", int) == [1, 2]
    with pytest.raises(InputError, match=r"a\.csv, line 6: age '\?' is not valid"):
        column(Path("a.csv"), [["", "5"], ["", "?"]], 1, "age", int, first_line=5)


def test_words_are_distinct_and_lower_case_without_numbers_and_single_letters() -> None:
    assert words("The Heat 2: a heat-wave, The END_7") == ["the", "heat", "wave", "end"]
