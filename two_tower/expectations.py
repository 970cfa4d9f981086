"""The data gate: what the pulled tables must be like before a model is trained on them.

The expectations follow from the feature contract. Great Expectations runs them in a context that lives in memory and
reports to nobody; a failed one becomes a reason that names the table, the column and some of the values.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd
import pyarrow as pa

from two_tower import data_report
from two_tower.checked import ROW, finite_column, frame, type_row, unlisted_items
from two_tower.gates import Verdict
from two_tower.inputs import ARROW_TYPES, arrow_schema
from two_tower.outcome import EXAMPLES, Outcome, outcome
from two_tower.pulled import EVENT_TIMESTAMP, SNAPSHOT, SPLIT, TABLES, WEIGHT, Pulled, Split
from two_tower.schema import Contract, Dtype, Feature
from two_tower.split import LEAST_ROWS

UNLISTED = "item_not_in_catalogue"  # the item's key where the last catalogue lacks it
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
    yield gxe.ExpectColumnValuesToBeNull(column=UNLISTED, mostly=_LISTED_SHARE)


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


def validate(pulled: Pulled, report: Path) -> Verdict:
    """Check the pulled tables and write `report`, a page of HTML that needs nothing else.

    Types come first: where one is wrong, values are not looked at. A failed expectation is a reason, one of severity
    warning only a line in the details.
    """
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # a step's log is for its own words
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("pulled")
    tables = {name: getattr(pulled, name) for name in TABLES}
    kinds = type_suites(pulled.contract)
    outcomes = [o for t in TABLES for o in _run(source, t, kinds[t], type_row(tables[t], kinds[t]), {})]
    if all(o.passed for o in outcomes):
        parameters = {"as_of": pulled.bounds.as_of.isoformat(), "rows": pulled.interactions.num_rows}
        wanted = suites(pulled.contract)
        for name in TABLES:
            checked = frame(tables[name])
            if name == "interactions":
                checked[UNLISTED] = unlisted_items(pulled)
            outcomes += _run(source, name, wanted[name], checked, parameters)
    verdict = _verdict(outcomes, tables)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(data_report.page(verdict, outcomes, pulled.bounds), encoding="utf-8")
    return verdict


def _run(
    source: Any, table: str, suite: gx.ExpectationSuite, checked: pd.DataFrame, parameters: Mapping[str, Any]
) -> list[Outcome]:
    batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
    result = batch.get_batch({"dataframe": checked}).validate(
        suite,
        result_format={
            "result_format": "SUMMARY",
            "partial_unexpected_count": EXAMPLES,
            "unexpected_index_column_names": [ROW],
        },
        expectation_parameters=dict(parameters),
    )
    return [outcome(table, r) for r in result.results]


def _verdict(outcomes: list[Outcome], tables: Mapping[str, pa.Table]) -> Verdict:
    failed = [o for o in outcomes if not o.passed]
    reasons = tuple(o.sentence(tables[o.table]) for o in failed if not o.warning)
    return Verdict(
        gate="data",
        passed=not reasons,
        reasons=reasons,
        details={
            "expectations": len(outcomes),
            "failed": len(reasons),
            "warnings": [o.sentence(tables[o.table]) for o in failed if o.warning],
            "rows": {name: table.num_rows for name, table in tables.items()},
        },
    )
