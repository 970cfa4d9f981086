"""What pulled data must be like: every expectation of the data gate, as Great Expectations suites by table.

`type_suites` look at a row of type names and `suites` at the values; both follow from the feature contract.
`of_measures` looks at one row of measures (see `compared`), with limits from the data of the release that serves.
`own_suites` are what the feature repository asks for beyond that. A failed expectation holds the gate, one of severity
warning is said.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path

import great_expectations as gx
import great_expectations.expectations as gxe
import pyarrow as pa

from two_tower.checks.checked import finite_column, unlisted_column
from two_tower.checks.compared import Measure
from two_tower.data.pulled import EVENT_TIMESTAMP, SNAPSHOT, SPLIT, TABLES, WEIGHT, Split
from two_tower.data.split import LEAST_ROWS
from two_tower.errors import InputError, unknown
from two_tower.inputs import ARROW_TYPES, arrow_schema
from two_tower.schema import Contract, Dtype, Feature

OWN = "expectations.py"  # of a feature repository
LONGEST_STRING = 4096  # characters; a value beyond is a document or a blob, not a feature
_LISTED_SHARE = 0.95  # of the interactions; items do leave a catalogue
_LARGEST = 3.4e38  # the largest float32: what lies beyond is infinite in a tower
_STAMP = ARROW_TYPES[Dtype.TIMESTAMP]


def type_suites(contract: Contract) -> dict[str, gx.ExpectationSuite]:
    """By table: each column is there, in its type. They check a row of type names by column."""
    keys = [
        (contract.user_key, ARROW_TYPES[contract.user_key_dtype]),
        (contract.item_key, ARROW_TYPES[contract.item_key_dtype]),
    ]
    schemas = {
        "interactions": pa.schema(
            [*keys, (EVENT_TIMESTAMP, _STAMP), (WEIGHT, pa.float32()), (SPLIT, pa.string())],
        ),
        "user": arrow_schema(contract.user),
        "item": arrow_schema(contract.item),
        "catalogue": pa.schema([(SNAPSHOT, _STAMP), keys[1], *arrow_schema(contract.item)]),
    }
    return {
        table: gx.ExpectationSuite(
            name=f"types of {table}",
            expectations=[gxe.ExpectColumnValuesToBeInSet(column=f.name, value_set=[str(f.type)]) for f in schema],
        )
        for table, schema in schemas.items()
    }


def suites(contract: Contract) -> dict[str, gx.ExpectationSuite]:
    """By table: what its values must be like. The parameters `as_of` and `rows` are given at validation."""
    expectations = {
        "interactions": list(_of_interactions(contract)),
        "user": [_as_many_rows(), *(e for f in contract.user for e in _of_feature(f))],
        "item": [_as_many_rows(), *(e for f in contract.item for e in _of_feature(f))],
        "catalogue": [
            gxe.ExpectTableRowCountToBeBetween(min_value=2),
            *_of_stamp(SNAPSHOT),
            gxe.ExpectColumnValuesToNotBeNull(column=contract.item_key),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=[SNAPSHOT, contract.item_key]),
            *(e for f in contract.item for e in _of_feature(f)),
        ],
    }
    return {table: gx.ExpectationSuite(name=table, expectations=found) for table, found in expectations.items()}


def _of_interactions(contract: Contract) -> Iterator[gxe.Expectation]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=len(Split) * LEAST_ROWS)
    yield from _of_stamp(EVENT_TIMESTAMP)
    for key in (contract.user_key, contract.item_key):
        yield gxe.ExpectColumnValuesToNotBeNull(column=key)
        yield gxe.ExpectColumnUniqueValueCountToBeBetween(column=key, min_value=2)
    yield gxe.ExpectColumnValuesToNotBeNull(column=WEIGHT)
    yield gxe.ExpectColumnValuesToBeBetween(column=WEIGHT, min_value=0, max_value=_LARGEST)
    yield gxe.ExpectColumnValuesToBeInSet(column=SPLIT, value_set=[s.value for s in Split])
    yield gxe.ExpectColumnValuesToBeNull(column=unlisted_column(contract.item_key), mostly=_LISTED_SHARE)


def _of_stamp(column: str) -> Iterator[gxe.Expectation]:
    yield gxe.ExpectColumnValuesToNotBeNull(column=column)
    yield gxe.ExpectColumnValuesToBeBetween(column=column, max_value={"$PARAMETER": "as_of"})


def _as_many_rows() -> gxe.Expectation:
    return gxe.ExpectTableRowCountToEqual(value={"$PARAMETER": "rows"})


def _of_feature(f: Feature) -> Iterator[gxe.Expectation]:
    yield gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(column=f.name, min_value=0, strict_min=True)
    match f.dtype:
        case Dtype.FLOAT32 | Dtype.FLOAT64:
            yield gxe.ExpectColumnValuesToBeBetween(column=f.name, min_value=-_LARGEST, max_value=_LARGEST)
        case Dtype.STRING:
            yield gxe.ExpectColumnValueLengthsToBeBetween(column=f.name, max_value=LONGEST_STRING)
        case Dtype.FLOATS:
            yield gxe.ExpectColumnValuesToBeInSet(column=finite_column(f.name), value_set=[True])
            yield gxe.ExpectColumnUniqueValueCountToBeBetween(column=f.name, max_value=1)  # of widths
    if f.dtype not in (Dtype.STRINGS, Dtype.INTS, Dtype.FLOATS):
        # One value throughout teaches nothing, but harms nothing either.
        yield gxe.ExpectColumnUniqueValueCountToBeBetween(column=f.name, min_value=2, severity="warning")


def of_measures(name: str, measures: Iterable[Measure]) -> gx.ExpectationSuite:
    return gx.ExpectationSuite(
        name=name,
        expectations=[
            gxe.ExpectColumnValuesToBeBetween(
                column=m.label,
                min_value=m.least,
                max_value=m.most,
                severity="warning" if m.warning else "critical",
            )
            for m in measures
        ],
    )


def own_suites(repo: Path | None) -> dict[str, gx.ExpectationSuite]:
    """The suites of a repository's `expectations.py`: its variable `suites`, expectations by table.

        suites = {"item": [gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0, max_value=500)]}

    Tables are those of `Pulled`: interactions, user, item, catalogue. Raises InputError for anything else.
    """
    if repo is None or not (repo / OWN).is_file():
        return {}
    from two_tower.data.repository import own_modules  # here, for Feast comes with it and takes seconds

    with chdir(repo), own_modules(repo.resolve()):
        found = getattr(importlib.import_module(Path(OWN).stem), "suites", None)
    if not isinstance(found, Mapping):
        raise InputError(f"{OWN} of the feature repository {repo.name} sets no `suites`, a dictionary by table.")
    for table, expectations in found.items():
        if table not in TABLES:
            raise unknown(f"table in `suites` of {OWN}", str(table), TABLES)
        if wrong := [e for e in expectations if not isinstance(e, gxe.Expectation)]:
            raise InputError(f"`suites` of {OWN}: {table!r} holds {wrong[0]!r}, which is no expectation.")
    return {
        table: gx.ExpectationSuite(name=f"{table} ({OWN})", expectations=list(expectations))
        for table, expectations in found.items()
    }
