"""Online Retail (Chen, UCI Machine Learning Repository, 2015, doi 10.24432/C5BW33): orders of a British gift shop.

A positive is a purchase of a product by a customer; repeated purchases are included. The raw lines need cleaning. These
rules apply in order, and the report counts a line for the first rule that drops it:

    no_customer    the line has no customer
    returned       a cancellation (invoice C…), or a quantity of zero or less; the cancelled sale stays, because the
                   customer chose the product
    no_price       a unit price of zero or less: samples, gifts, corrections
    no_product     a stock code that does not start with five digits: postage, fees, vouchers, manual entries
    duplicate      a line that equals an earlier line in every column
    same_instant   further lines with the same customer, product and time; their quantities are summed

A product exists from its first remaining sale, with the description and the price of that sale: later values were not
known then. Times are local times of the shop, stored as UTC.
"""

import csv
import gzip
import io
import math
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from two_tower.datasets.delimited import check_width, column, words
from two_tower.datasets.source import Source, files
from two_tower.datasets.tables import TIMESTAMP, Tables
from two_tower.datasets.xlsx import read_sheet
from two_tower.errors import InputError

ONLINE_RETAIL = Source(
    folder="online-retail",
    files=(("online_retail.csv.gz",), ("Online Retail.xlsx",)),
    url="https://archive.ics.uci.edu/static/public/352/online+retail.zip",
    sha256=None,  # UCI does not publish a checksum
    licence="CC BY 4.0",
)
HEADER = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]
RULES = ("no_customer", "returned", "no_price", "no_product", "duplicate", "same_instant")

_JUDGED = """
create table judged as
with counted as (
    select *, row_number() over (
        partition by invoice, stock_code, description, quantity, moment, price, customer, country order by line
    ) as copy
    from lines
),
ruled as (
    select *, case
        when customer is null then 'no_customer'
        when invoice like 'C%' or quantity <= 0 then 'returned'
        when price <= 0 then 'no_price'
        when not regexp_matches(stock_code, '^[0-9]{5}') then 'no_product'
        when copy > 1 then 'duplicate'
    end as rule
    from counted
)
select * replace (
    case when rule is null and row_number() over (
        partition by rule, customer, stock_code, moment order by line
    ) > 1 then 'same_instant' else rule end as rule
)
from ruled
"""
_INTERACTIONS = """
select customer as user_id, stock_code as item_id, moment as event_timestamp, sum(quantity)::bigint as quantity
from judged where rule is null or rule = 'same_instant'
group by all order by event_timestamp, user_id, item_id
"""
_USERS = """
select customer as user_id, min(moment) as event_timestamp, arg_min(country, (moment, line)) as country
from judged where rule is null group by customer order by user_id
"""
_ITEMS = """
select stock_code as item_id, min(moment) as event_timestamp, stock_code as item,
       arg_min(coalesce(description, ''), (moment, line)) as description,
       arg_min(price, (moment, line))::float as price
from judged where rule is null group by stock_code order by item_id
"""


def load(folder: Path) -> Tables:
    """Load and clean Online Retail from its CSV file (gzip) or the official workbook.

    Args:
        folder: The folder of the file.

    Returns:
        Users, items and interactions. `report` has the number of lines that each rule dropped.

    Raises:
        InputError: If the file is not valid. The message names the file and the line.
    """
    path = files(ONLINE_RETAIL, folder)[0]
    return clean(parse(path, _read_csv(path) if path.suffix == ".gz" else read_sheet(path, len(HEADER))))


def clean(lines: pa.Table) -> Tables:
    """Apply the cleaning rules; see the module's docstring.

    Args:
        lines: The lines, from `parse`.

    Returns:
        Users, items and interactions. `report` has the number of lines that each rule dropped.
    """
    import duckdb  # imported here: pipeline steps that need only the names of data sets run without duckdb

    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.register("lines", lines)
        connection.execute(_JUDGED)
        counts = dict(connection.sql("select rule, count(*) from judged group by rule").fetchall())
        users, items, interactions = (connection.sql(q).to_arrow_table() for q in (_USERS, _ITEMS, _INTERACTIONS))
    bags = pa.array([words(text) for text in items["description"].to_pylist()], pa.list_(pa.string()))
    return Tables(
        users=users,
        items=items.append_column("description_words", bags),
        interactions=interactions,
        report={rule: counts.get(rule, 0) for rule in RULES},
    )


def parse(path: Path, rows: list[list[str]]) -> pa.Table:
    """Convert the lines to typed columns.

    Args:
        path: The file of the lines, for error messages.
        rows: The fields of each line, with the header. The function removes the header from the list.

    Returns:
        One row per line, with its line number.

    Raises:
        InputError: If the header is different, or a value is not valid. The message names the line.
    """
    if not rows or rows[0] != HEADER:
        raise InputError(
            f"{path}, line 1: the header is {rows[:1]} instead of {','.join(HEADER)}. Download the data set again."
        )
    check_width(path, rows, len(HEADER), ",")
    del rows[0]

    def read(position: int, kind: pa.DataType) -> pa.Array:
        return pa.array(column(path, rows, position, HEADER[position], _PARSERS[position], first_line=2), kind)

    return pa.table(
        {
            "line": pa.array(range(2, len(rows) + 2), pa.int64()),
            "invoice": read(0, pa.string()),
            "stock_code": read(1, pa.string()),
            "description": read(2, pa.string()),
            "quantity": read(3, pa.int64()),
            "moment": read(4, TIMESTAMP),
            "price": read(5, pa.float64()),
            "customer": read(6, pa.int64()),
            "country": read(7, pa.string()),
        }
    )


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _whole(text: str) -> int:
    number = _number(text)  # the CSV file has 6.0 for 6
    if not number.is_integer():
        raise ValueError("not a whole number")
    return int(number)


_PARSERS = (
    str,
    lambda text: text.strip().upper(),  # 85123a and 85123A are one product
    lambda text: text.strip() or None,
    _whole,
    lambda text: datetime.fromisoformat(text).replace(tzinfo=UTC),
    _number,
    lambda text: _whole(text) if text else None,
    str,
)


def _read_csv(path: Path) -> list[list[str]]:
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is corrupt or truncated ({error}). Download the data set again.") from error
    if not text.endswith("\n"):
        lines = text.count("\n") + 1
        raise InputError(f"{path} is truncated: it ends in the middle of line {lines}. Download the data set again.")
    return list(csv.reader(io.StringIO(text)))
