import pytest

from two_tower.errors import InputError
from two_tower.starter.delimited_text import Text, read_text


def read(text: str | bytes, delimiter: str | None = None, *, lists: bool = False) -> Text:
    return read_text("t.csv", text if isinstance(text, bytes) else text.encode(), delimiter, lists=lists)


@pytest.mark.parametrize(
    ("text", "header", "first"),
    [
        ("user,item\n1,a\n2,b\n", ["user", "item"], ["1", "a"]),
        ("1\t242\t3\n2\t302\t3\n", None, ["1", "242", "3"]),
        ("1|Toy, Story (1995)|01-Jan-1995\n2|x|\n", None, ["1", "Toy, Story (1995)", "01-Jan-1995"]),
        ("1::Toy Story::Comedy|Drama\n2::Heat::Action\n", None, ["1", "Toy Story", "Comedy|Drama"]),
        ('id;name\n7;"a;b"\n8; c \n', ["id", "name"], ["7", "a;b"]),
        ("id,said\n1,\\N\n2,x\n", ["id", "said"], ["1", None]),
        ('"id","a ""quoted"" name"\r\n1,x\r\n', ["id", 'a "quoted" name'], ["1", "x"]),
        ("1 2  978300760\n 2 3 978300761 \n", None, ["1", "2", "978300760"]),
        ('"u" "i"\n"a b" 3\n"c" 4\n', ["u", "i"], ["a b", "3"]),
        ("\n ,\n\nu,i\n1,2\n", ["u", "i"], ["1", "2"]),
        ("sep=;\nu;i\n1;3,5\n", ["u", "i"], ["1", "3,5"]),
        ("# a graph\n# from\tto\n0\t4\n1\t5\n", ["from", "to"], ["0", "4"]),
        ("% bip weighted\n1 2 5\n2 3 5\n", None, ["1", "2", "5"]),
        ("#tag,n\n#b,2\n", ["#tag", "n"], ["#b", "2"]),
        ("u,i,t\n1,2,3,\n4,5,6,\n", ["u", "i", "t", ""], ["1", "2", "3", None]),
        ('"u" "i"\n"1" "a" 5\n"2" "b" 6\n', ["", "u", "i"], ["1", "a", "5"]),
        (",u,u\n0,a,b\n", ["", "u", "u"], ["0", "a", "b"]),
        ("u,i,2019\n1,2,3\n4,5,6\n", ["u", "i", "2019"], ["1", "2", "3"]),
        ("i,0,1,2\nx,.1,.2,.3\n", ["i", "0", "1", "2"], ["x", ".1", ".2", ".3"]),
        ("unknown,5,2024-01-01\n7,3,2024-01-02\n", None, ["unknown", "5", "2024-01-01"]),
        ('id;t\n1;"a \\"b\\"; c"\n2;d\n', ["id", "t"], ["1", 'a "b"; c']),
        ('id\tt\ty\n1\t"Heat\t3\n2\tc" x\t4\n', ["id", "t", "y"], ["1", '"Heat', "3"]),
        ('id,t\n1,"two\nlines"\n', ["id", "t"], ["1", "two\nlines"]),
    ],
)
def test_delimiter_header_and_nulls(text: str, header: list[str] | None, first: list[str | None]) -> None:
    found = read(text)
    assert found.header == header
    assert list(found.table.slice(0, 1).to_pylist()[0].values()) == first


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_of_any_encoding(encoding: str) -> None:
    table = read("id,city\n1,Köln\n2,Århus\n".encode(encoding)).table
    assert table["f1"].to_pylist() == ["Köln", "Århus"]


def test_the_delimiter_that_the_user_names() -> None:
    found = read("u||i\n1||a|b\n", "||")
    assert (found.header, found.table.to_pylist()) == (["u", "i"], [{"f0": "1", "f1": "a|b"}])


def test_lines_of_a_user_and_its_items() -> None:
    found = read("0 10 11 12\n1 10\n2\n3 7 8 \n", lists=True)
    assert [tuple(row.values()) for row in found.table.to_pylist()] == [
        ("0", "10"), ("0", "11"), ("0", "12"), ("1", "10"), ("3", "7"), ("3", "8")
    ]  # fmt: skip
    assert found.notes == ("t.csv: each line is a user and its items; 4 lines are 6 interactions.",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one\ntwo\nthree\n", "cannot detect the delimiter"),
        (" \n\n", "cannot detect the delimiter"),
        ("a,b\n" + "1,2\n" * 300 + "1,2,3\n", "corrupt"),
    ],
)
def test_text_that_is_not_a_table(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text, lists=True)
