import gzip
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.raw import HEADER, online_retail, real
from two_tower.datasets.online_retail import RULES, load
from two_tower.errors import InputError

KEPT = "536365,85123A,WHITE HANGING HEART,6.0,2010-12-01 08:26:00,2.55,17850.0,United Kingdom"
OTHER = '536366,71053,"LANTERN, WHITE METAL",2.0,2010-12-01 09:00:00,3.39,13047.0,France'
CLEAN = (KEPT, OTHER)


def test_clean_lines_become_tables(tmp_path: Path) -> None:
    tables = load(online_retail(tmp_path, *CLEAN))
    assert tables.report == dict.fromkeys(RULES, 0)
    assert tables.interactions.to_pylist()[1] == {
        "user_id": 13047,
        "item_id": "71053",
        "event_timestamp": datetime(2010, 12, 1, 9, tzinfo=UTC),
        "quantity": 2,
    }
    assert tables.items.to_pylist()[1] == {
        "item_id": "85123A",
        "event_timestamp": datetime(2010, 12, 1, 8, 26, tzinfo=UTC),
        "item": "85123A",
        "description": "WHITE HANGING HEART",
        "price": pytest.approx(2.55),
        "description_words": ["white", "hanging", "heart"],
    }
    assert tables.users["country"].to_pylist() == ["France", "United Kingdom"]


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("no_customer", "536414,22139,,56.0,2010-12-01 11:52:00,0.0,,United Kingdom"),
        ("returned", "C536379,85123A,WHITE HANGING HEART,-1.0,2010-12-01 09:41:00,2.55,17850.0,United Kingdom"),
        ("returned", "536380,85123A,WHITE HANGING HEART,0,2010-12-01 09:41:00,2.55,17850.0,United Kingdom"),
        ("no_price", "536381,85123A,WHITE HANGING HEART,1.0,2010-12-01 09:41:00,0.0,17850.0,United Kingdom"),
        ("no_price", "536381,85123A,WHITE HANGING HEART,1.0,2010-12-01 09:41:00,-11.0,17850.0,United Kingdom"),
        ("no_product", "536370,POST,POSTAGE,3.0,2010-12-01 08:45:00,18.0,12583.0,France"),
        ("duplicate", KEPT),
        ("same_instant", KEPT.replace("85123A", "85123a").replace("6.0", "4.0")),
    ],
)
def test_each_rule_drops_its_line_and_counts_it(tmp_path: Path, rule: str, line: str) -> None:
    tables = load(online_retail(tmp_path, *CLEAN, line))
    assert tables.report == {**dict.fromkeys(RULES, 0), rule: 1}
    assert tables.interactions.num_rows == 2
    summed = 10 if rule == "same_instant" else 6
    assert tables.interactions["quantity"].to_pylist() == [summed, 2]


def test_a_product_is_described_as_at_its_first_sale(tmp_path: Path) -> None:
    later = "540000,85123A,CREAM HEART,1.0,2011-05-01 08:26:00,9.99,13047.0,France"
    items = load(online_retail(tmp_path, later, *CLEAN)).items.to_pylist()
    assert (items[1]["description"], items[1]["price"]) == ("WHITE HANGING HEART", pytest.approx(2.55))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("536365,85123A,HEART,six,2010-12-01 08:26:00,2.55,17850,France",), r"csv\.gz, line 4: Quantity 'six'"),
        (("536365,85123A,HEART,1.5,2010-12-01 08:26:00,2.55,17850,France",), r"line 4: Quantity '1\.5'.*whole"),
        (("536365,85123A,HEART,1,yesterday,2.55,17850,France",), r"line 4: InvoiceDate 'yesterday'"),
        (("536365,85123A,HEART,1,2010-12-01 08:26:00,nan,17850,France",), r"line 4: UnitPrice 'nan'.*finite"),
        (("536365,85123A",), r"line 4: 2 fields instead of 8"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(online_retail(tmp_path, *CLEAN, *lines))


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = online_retail(tmp_path, *CLEAN) / "online_retail.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(InputError, match=r"online_retail\.csv\.gz is corrupt or truncated"):
        load(tmp_path)
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:-9]))
    with pytest.raises(InputError, match="ends in the middle of line 3"):
        load(tmp_path)
    path.write_bytes(gzip.compress(HEADER.replace("Quantity", "Qty").encode() + b"\n"))
    with pytest.raises(InputError, match="line 1: the header is"):
        load(tmp_path)


@pytest.mark.slow
def test_the_real_file() -> None:
    tables = load(real("online-retail"))
    assert tables.report["no_customer"] == 135_080
    assert sum(tables.report.values()) + tables.interactions.num_rows == 541_909
