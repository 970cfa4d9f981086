"""Read the first sheet of an Excel workbook as rows of text, with the standard library.

A workbook is a zip archive of XML (ECMA-376, part 1, section 18). This module reads shared, inline and plain strings,
and numbers. A cell with a date style becomes an ISO time.
"""

import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from two_tower.errors import InputError

_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - Excel counts local time
_DATE_FORMATS = {14, 15, 16, 17, 18, 19, 20, 21, 22, 45, 46, 47}


def read_sheet(path: Path, width: int | None = None) -> list[list[str]]:
    """Read the first sheet of a workbook.

    Args:
        path: The workbook.
        width: The number of columns. None: the width of the first row with cells; rows above it are skipped.

    Returns:
        One list of `width` texts per row. An empty cell is "".

    Raises:
        InputError: If the file is not a workbook, or a row has too many cells.
    """
    try:
        with zipfile.ZipFile(path) as book:
            names = book.namelist()
            strings = _strings(book) if "xl/sharedStrings.xml" in names else []
            dates = _date_styles(book) if "xl/styles.xml" in names else set()
            with book.open("xl/worksheets/sheet1.xml") as sheet:
                rows: list[list[str]] = []
                for row in _elements(sheet, "row"):
                    width = width or 1 + max((_position(c.attrib.get("r"), i) for i, c in enumerate(row)), default=-1)
                    if not width:
                        continue
                    rows.append(_row(path, row, width, strings, dates))
                return rows
    except (zipfile.BadZipFile, KeyError, ET.ParseError, EOFError) as error:
        raise InputError(
            f"{path} is not a valid workbook, or is truncated ({error}). Export or download it again."
        ) from error


def _elements(file: IO[bytes], name: str) -> Iterator[ET.Element]:
    """Yield the elements with a name, and clear each after its use, which limits memory."""
    for _, element in ET.iterparse(file):  # noqa: S314 - expat refuses entity bombs
        if element.tag == _NS + name:
            yield element
            element.clear()


def _strings(book: zipfile.ZipFile) -> list[str]:
    with book.open("xl/sharedStrings.xml") as file:
        return ["".join(t.text or "" for t in item.iter(_NS + "t")) for item in _elements(file, "si")]


def _date_styles(book: zipfile.ZipFile) -> set[str]:
    """Return the ids of the cell styles with a date format."""
    root = ET.fromstring(book.read("xl/styles.xml"))  # noqa: S314 - expat refuses entity bombs
    custom = {
        int(f.attrib["numFmtId"])
        for f in root.iter(_NS + "numFmt")
        if any(part in f.attrib["formatCode"].lower() for part in ("yy", "h:mm"))
    }
    formats = root.find(_NS + "cellXfs")
    cells = [] if formats is None else list(formats)
    return {str(i) for i, cell in enumerate(cells) if int(cell.attrib.get("numFmtId", 0)) in _DATE_FORMATS | custom}


def _row(path: Path, row: ET.Element, width: int, strings: list[str], dates: set[str]) -> list[str]:
    values = [""] * width
    for order, cell in enumerate(row):
        position = _position(cell.attrib.get("r"), order)
        if position >= width:
            raise InputError(
                f"{path}, row {row.attrib.get('r')}: a cell in column {position + 1}; the header has {width} columns. "
                "Remove the cell, or add a header."
            )
        values[position] = _text(cell, strings, dates)
    return values


def _position(reference: str | None, order: int) -> int:
    """Return the column of a cell such as B7, from 0. A cell without a reference follows the cell before it."""
    if reference is None:
        return order
    number = 0
    for letter in reference.rstrip("0123456789"):
        number = number * 26 + ord(letter) - ord("A") + 1
    return number - 1


def _text(cell: ET.Element, strings: list[str], dates: set[str]) -> str:
    kind = cell.attrib.get("t", "n")
    if kind == "inlineStr":
        return "".join(t.text or "" for t in cell.iter(_NS + "t"))
    value = cell.findtext(_NS + "v", "")
    if kind == "s":
        return strings[int(value)]
    if kind == "n" and value and cell.attrib.get("s") in dates:
        return (_EPOCH + timedelta(seconds=round(float(value) * 86_400))).isoformat(" ")
    return value
