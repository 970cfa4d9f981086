import zipfile
from pathlib import Path

import pytest

from two_tower.datasets.xlsx import read_sheet
from two_tower.errors import InputError

NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
STRINGS = f"<sst {NS}><si><t>InvoiceNo</t></si><si><r><t>two </t></r><r><t>runs</t></r></si></sst>"
STYLES = f"""<styleSheet {NS}><numFmts count="1"><numFmt numFmtId="164" formatCode="dd/mm/yyyy\\ hh:mm"/></numFmts>
<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="22"/></cellXfs></styleSheet>"""
SHEET = f"""<worksheet {NS}><sheetData>
<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><t>when</t></is></c></row>
<row r="2"><c r="A2"><v>536365</v></c><c r="B2" s="1"><v>40513.351388888892</v></c><c r="C2" t="s"><v>1</v></c></row>
<row r="3"><c r="B3" s="2"><v>40513.5</v></c></row>
</sheetData></worksheet>"""


def workbook(path: Path, **parts: str) -> Path:
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("xl/worksheets/sheet1.xml", parts.get("sheet", SHEET))
        book.writestr("xl/sharedStrings.xml", STRINGS)
        book.writestr("xl/styles.xml", STYLES)
    return path


def test_strings_numbers_dates_and_gaps(tmp_path: Path) -> None:
    assert read_sheet(workbook(tmp_path / "book.xlsx"), 3) == [
        ["InvoiceNo", "when", ""],
        ["536365", "2010-12-01 08:26:00", "two runs"],
        ["", "2010-12-01 12:00:00", ""],
    ]


def test_blank_rows_at_the_top_are_skipped(tmp_path: Path) -> None:
    sheet = SHEET.replace("<sheetData>", '<sheetData><row r="0"></row>')
    assert read_sheet(workbook(tmp_path / "book.xlsx", sheet=sheet.replace('<c r="C2" t="s"><v>1</v></c>', "")))[0] == [
        "InvoiceNo", "when"
    ]  # fmt: skip


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "book.xlsx"
    path.write_bytes(b"<html>moved</html>")
    with pytest.raises(InputError, match=r"book\.xlsx is not a valid workbook"):
        read_sheet(path, 3)
    with pytest.raises(InputError, match=r"book\.xlsx is not a valid workbook"):
        read_sheet(workbook(path, sheet=SHEET[:300]), 3)


def test_a_row_that_is_too_wide_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"book\.xlsx, row 2: a cell in column 3; the header has 2 columns"):
        read_sheet(workbook(tmp_path / "book.xlsx"), 2)
