"""Tiny data sets in the formats of the public ones, and the folders of the real ones."""

import gzip
import os
from pathlib import Path

import pytest

_NO_GENRE = "|0" * 14
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def real(name: str) -> Path:
    """Return the folder of a real data set; skip the test if it does not exist."""
    shared = os.environ.get("TWO_TOWER_DATA")
    root = Path(shared) if shared else Path(__file__).parents[2] / "shared" / "data"
    if not (root / name).is_dir():
        pytest.skip(f"{root / name} does not exist: set TWO_TOWER_DATA to the folder that holds {name}")
    return root / name


def movielens_100k(folder: Path) -> Path:
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|53|F|other|94043\n")
    (folder / "u.item").write_text(
        f"1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|0|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
        f"2|Late (1997)|01-Dec-1997||http://x|0|1|0|0|0{_NO_GENRE}\n"
        f"3|Preview (1998)|01-Feb-1998||http://x|0|1|0|0|0{_NO_GENRE}\n"
        f"4|unknown||||1|0|0|0|0{_NO_GENRE}\n"
    )
    (folder / "u.data").write_text("2\t3\t4\t880000300\n1\t1\t5\t880000100\n1\t2\t3\t881000000\n")
    return folder


def movielens_1m(folder: Path) -> Path:
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    (folder / "movies.dat").write_text(
        "1::Toy Story (1995)::Animation|Children's|Comedy\n2::Heat (1995)::Action\n3::Misérables, Les (1995)::Drama\n",
        encoding="latin-1",
    )
    (folder / "ratings.dat").write_text("1::1::5::978300000\n1::2::3::978300020\n2::1::4::978300040\n")
    return folder


def online_retail(folder: Path, *lines: str) -> Path:
    text = "\n".join([HEADER, *lines]) + "\n"
    (folder / "online_retail.csv.gz").write_bytes(gzip.compress(text.encode()))
    return folder
