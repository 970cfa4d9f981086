"""Names of tables are data: they never become code."""

import ast
import csv
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import feather, orc

from tests.two_tower.datasets.test_xlsx import NS, workbook
from two_tower.errors import InputError
from two_tower.schema import Dtype
from two_tower.starter import files
from two_tower.starter.build import build
from two_tower.starter.create import _project
from two_tower.starter.decide import decide
from two_tower.starter.definitions import STORE, definitions
from two_tower.starter.options import Options
from two_tower.starter.plan import Column, Plan, Table

CODE = "open('marker', 'w')"
HOSTILE = ['"', "'", '"""', "\\", "{", "}", "{{x}}", "#", "), ", "%s", "${HOME}", CODE, '"] + [', " ", "é"]
CONTROL = ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1b", "\x85", "\u2028", "\u2029", "\u202e", "\x00"]
parts = st.one_of(st.sampled_from([*HOSTILE, *CONTROL]), st.characters(codec="utf-8"))
names = st.lists(parts, min_size=1, max_size=6).map("".join)
COLUMNS = {"shopper": ["u1", "u2", "u1"], "article": ["a", "b", "c"], "bought_at": ["2024-01-01"] * 3}


def plan(source: str, field: str, warning: str, key: str) -> Plan:
    feature = {"kind": "text", "why": "", "dtype": Dtype.STRING, "tags": {"encoding": warning}, "warning": warning}
    columns = [Column(source=source, role=role, field=field, **feature) for role in ("user feature", "item feature")]
    table = Table(path="t", names=None, columns=tuple(columns))
    kept = Table(path="t", names=None, columns=(Column(source=source, role="kept", field=field, **feature),))
    dtypes: Any = {"user_dtype": Dtype.STRING, "item_dtype": Dtype.STRING}
    return Plan(user_key=key, item_key=key, users=table, items=table, interactions=kept, **dtypes)


def shape(text: str) -> list[str]:
    """Types of the nodes of the code, without the values."""
    return [type(node).__name__ for node in ast.walk(ast.parse(text))]


@given(source=names, field=names, warning=names.filter(lambda text: text.isprintable()), key=names)
def test_any_name_is_a_string_of_the_code(source: str, field: str, warning: str, key: str) -> None:
    text = definitions(plan(source, field, warning, key))
    assert shape(text) == shape(definitions(plan("plain", "plain", "plain", "plain")))
    strings = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)]
    assert strings.count(field) >= 3 and strings.count(key) >= 2 and strings.count(warning) >= 3


@given(names)
def test_any_folder_name_is_a_project(name: str) -> None:
    project = yaml.safe_load(STORE.format(project=json.dumps(_project(Path("/") / name.replace("\x00", "")))))[
        "project"
    ]
    assert isinstance(project, str) and project.isascii()


def _csv(path: Path, table: pa.Table) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([table.column_names, *zip(*table.to_pydict().values(), strict=True)])


BREAKS = {"\n": "&#10;", "\r": "&#13;", "\x85": "&#133;"}


def _xlsx(path: Path, table: pa.Table) -> None:
    rows = [table.column_names, *zip(*table.to_pydict().values(), strict=True)]
    cells = ["".join(f'<c t="inlineStr"><is><t>{escape(str(v), BREAKS)}</t></is></c>' for v in row) for row in rows]
    workbook(
        path, sheet=f"<worksheet {NS}><sheetData>{''.join(f'<row>{c}</row>' for c in cells)}</sheetData></worksheet>"
    )
    with zipfile.ZipFile(path, "a") as book:
        book.writestr("[Content_Types].xml", "")


def _json_lines(path: Path, table: pa.Table) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))


WRITERS: dict[str, Callable[[Path, pa.Table], object]] = {
    "csv": _csv,
    "parquet": lambda path, table: pq.write_table(table, path),
    "json lines": _json_lines,
    "json": lambda path, table: path.write_text(json.dumps(table.to_pylist())),
    "xlsx": _xlsx,
    "arrow": lambda path, table: feather.write_feather(table, str(path)),
    "orc": lambda path, table: orc.write_table(table, str(path)),
    "struct": lambda path, table: pq.write_table(_nested(table), path),
}


def _nested(table: pa.Table) -> pa.Table:
    """The last column inside a struct."""
    name = table.column_names[-1]
    struct = pa.StructArray.from_arrays([table[name].combine_chunks()], names=[name])
    return table.drop_columns([name]).append_column("outer", struct)


def table_with(name: str) -> pa.Table:
    return pa.table({**COLUMNS, name: ["x", "y", "x"]})


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "name", ["a\nopen('marker', 'w')", "a\rb", "a\x1b[31mb", "a\x85b", "a\u2028b", "a\u202eb"], ids=ascii
)
def test_a_name_with_a_control_character_is_refused(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "xlsx" and "\x1b" in name:
        pytest.skip("XML has no such character")
    WRITERS[kind](tmp_path / "t", table_with(name))
    with pytest.raises(InputError, match=r"has a line break or another control character\. Rename the column"):
        files.read(tmp_path / "t", "interaction")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", ["a\nb", "a\x85b"], ids=ascii)
def test_names_of_an_option_replace_a_refused_name(tmp_path: Path, kind: str, name: str) -> None:
    WRITERS[kind](tmp_path / "t", table_with(name))
    assert files.read(tmp_path / "t", "interaction", [*COLUMNS, "note"]).table.column_names == [*COLUMNS, "note"]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "name", [f'x"); {CODE} #', f"x'''; {CODE}", '"; drop table events; --', "{0}{user_key}", "\\"], ids=ascii
)
def test_a_hostile_name_of_each_format_stays_a_name(tmp_path: Path, monkeypatch, kind: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    rows = {column: [value for value in values for _ in range(20)] for column, values in COLUMNS.items()}
    rows["bought_at"] = [f"2024-01-{1 + n % 28:02} {n % 24:02}:00" for n in range(60)]
    table = pa.table({**rows, name: ["red", "blue", "red"] * 20})
    WRITERS[kind](tmp_path / "t", table)
    decided, read = decide(Options(interactions=tmp_path / "t", user_key="shopper", item_key="article"))
    sources = [column.source.removeprefix("outer.") for column in decided.interactions.columns]
    assert sources == table.column_names
    build(decided, read)
    code = compile(definitions(decided), "definitions.py", "exec")
    assert CODE not in code.co_names and "open" not in code.co_names
    assert not (tmp_path / "marker").exists()
