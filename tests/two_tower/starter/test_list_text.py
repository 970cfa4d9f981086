import pyarrow as pa
import pytest

from two_tower.starter.list_text import elements, list_kind, vectors


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["[0.1, 0.2]", "[1, 2]"], "vector"),
        (["0.1 0.2", "3 4e-1"], "vector"),
        (["0.1,0.2", ".5,6"], "vector"),
        (["[0.1 0.2\n 0.3]", "[1. 2. 3.]"], "vector"),
        (["0 1 0", "1 1 0"], "vector"),
        (["0.1 0.2", "0.1 0.2 0.3"], None),
        (["['a', 'b']", "[]"], "list []"),
        (["[1, 2]", "[3, 4]"], "list []"),
        (["{a,b}", "{c}"], "list []"),
        (["{'a': 1}", "{'a': 2}"], None),
        (["N12 N3", "N4"], "list  "),
        (["12 3", "4"], "list  "),
        (["red lamp", "blue chair 2"], None),
        (["2024-01-01 12:00", "2024-01-02 12:00"], None),
    ],
)
def test_the_kind_of_lists(texts: list[str], kind: str | None) -> None:
    assert list_kind(pa.array(texts)) == kind


def test_vectors_of_the_most_common_length() -> None:
    found = vectors(pa.array(["[0.5, +1]", "(2;3)", None, "1 2 3", "x"]))
    assert found.to_pylist() == [[0.5, 1.0], [2.0, 3.0], None, None, None]
    assert vectors(pa.array(["x"])).to_pylist() == [None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("['a', \"b c\", None]", ["a", "b c"]),
        ("['a' 'b']", ["a", "b"]),
        ('{New York,"x, y"}', ["New York", "x, y"]),
        ("[{'id': 16, 'name': 'Drama'}, {'id': 3}]", ["Drama", "3"]),
        ('[{"name": "A", "x": null}]', ["A"]),
        ("[{'id': ]", None),
        ("[]", []),
    ],
)
def test_elements_of_a_list(text: str, expected: list[str] | None) -> None:
    assert elements(text) == expected
