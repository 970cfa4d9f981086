"""The expectations of the data gate, as one Great Expectations suite per table.

`type_suites` check the column types and `suites` check the values; both follow from the feature contract.
`measure_suite` checks measures (see `compared`); their limits follow from the training data of the current release.
`custom_suites` are the suites of the feature repository. A failed expectation fails the gate; with the severity warning
it is only reported.
"""

import importlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import chdir
from pathlib import Path

import great_expectations as gx
import great_expectations.expectations as gxe
import pyarrow as pa

from two_tower.checks.checked import finite_column, unlisted_column
from two_tower.checks.measure import Measure
from two_tower.data.pulled import EVENT_TIMESTAMP, SNAPSHOT, SPLIT, TABLES, WEIGHT, Split
from two_tower.data.split import LEAST_ROWS
from two_tower.errors import InputError, unknown
from two_tower.inputs import ARROW_TYPES, arrow_schema
from two_tower.schema import Contract, Dtype, Feature

CUSTOM_FILE = "expectations.py"  # in the feature repository
LONGEST_STRING = 4096  # characters; a longer string is a document or a blob, not a feature
_LISTED_SHARE = 0.95  # the minimum share of interactions with items of the catalogue; items leave a catalogue
_LARGEST = 3.4e38  # the largest float32; larger numbers become infinite in a tower
_STAMP = ARROW_TYPES[Dtype.TIMESTAMP]


def type_suites(contract: Contract) -> dict[str, gx.ExpectationSuite]:
    """Return the suites that check that each column exists and has its type.

    Args:
        contract: The feature contract.

    Returns:
        Table → suite, for the data frame of `checked.type_row`.
    """
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
    """Return the suites that check the values.

    Args:
        contract: The feature contract.

    Returns:
        Table → suite, for the data frame of `checked.frame`. The validation must set the parameters `as_of` and `rows`.
    """
    expectations = {
        "interactions": list(_interaction_expectations(contract)),
        "user": [_row_count(), *(e for f in contract.user for e in _feature_expectations(f))],
        "item": [_row_count(), *(e for f in contract.item for e in _feature_expectations(f))],
        "catalogue": [
            gxe.ExpectTableRowCountToBeBetween(min_value=2),
            *_timestamp_expectations(SNAPSHOT),
            gxe.ExpectColumnValuesToNotBeNull(column=contract.item_key),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=[SNAPSHOT, contract.item_key]),
            *(e for f in contract.item for e in _feature_expectations(f)),
        ],
    }
    return {table: gx.ExpectationSuite(name=table, expectations=suite) for table, suite in expectations.items()}


def _interaction_expectations(contract: Contract) -> Iterator[gxe.Expectation]:
    yield gxe.ExpectTableRowCountToBeBetween(min_value=len(Split) * LEAST_ROWS)
    yield from _timestamp_expectations(EVENT_TIMESTAMP)
    for key in (contract.user_key, contract.item_key):
        yield gxe.ExpectColumnValuesToNotBeNull(column=key)
        yield gxe.ExpectColumnUniqueValueCountToBeBetween(column=key, min_value=2)
    yield gxe.ExpectColumnValuesToNotBeNull(column=WEIGHT)
    yield gxe.ExpectColumnValuesToBeBetween(column=WEIGHT, min_value=0, max_value=_LARGEST)
    yield gxe.ExpectColumnValuesToBeInSet(column=SPLIT, value_set=[s.value for s in Split])
    yield gxe.ExpectColumnValuesToBeNull(column=unlisted_column(contract.item_key), mostly=_LISTED_SHARE)


def _timestamp_expectations(column: str) -> Iterator[gxe.Expectation]:
    yield gxe.ExpectColumnValuesToNotBeNull(column=column)
    yield gxe.ExpectColumnValuesToBeBetween(column=column, max_value={"$PARAMETER": "as_of"})


def _row_count() -> gxe.Expectation:
    return gxe.ExpectTableRowCountToEqual(value={"$PARAMETER": "rows"})


def _feature_expectations(f: Feature) -> Iterator[gxe.Expectation]:
    yield gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(column=f.name, min_value=0, strict_min=True)
    match f.dtype:
        case Dtype.FLOAT32 | Dtype.FLOAT64:
            yield gxe.ExpectColumnValuesToBeBetween(column=f.name, min_value=-_LARGEST, max_value=_LARGEST)
        case Dtype.STRING:
            yield gxe.ExpectColumnValueLengthsToBeBetween(column=f.name, max_value=LONGEST_STRING)
        case Dtype.FLOATS:
            yield gxe.ExpectColumnValuesToBeInSet(column=finite_column(f.name), value_set=[True])
            yield gxe.ExpectColumnUniqueValueCountToBeBetween(column=f.name, max_value=1)  # one width
    if f.dtype not in (Dtype.STRINGS, Dtype.INTS, Dtype.FLOATS):
        # A constant feature is useless but harmless.
        yield gxe.ExpectColumnUniqueValueCountToBeBetween(column=f.name, min_value=2, severity="warning")


def measure_suite(name: str, measures: Iterable[Measure]) -> gx.ExpectationSuite:
    """Return a suite that checks measures against their limits.

    Args:
        name: The name of the suite.
        measures: The measures of one table.

    Returns:
        The suite, for a data frame with one row and one column per measure, named by its label.
    """
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


def custom_suites(repo: Path | None) -> dict[str, gx.ExpectationSuite]:
    """Load the suites of a feature repository from the variable `suites` of its file expectations.py.

    Example:
        suites = {"item": [gxe.ExpectColumnValuesToBeBetween(column="price", min_value=0, max_value=500)]}

    Args:
        repo: The folder of the feature repository. None: no suites.

    Returns:
        Table → suite. The tables are those of `Pulled`: interactions, user, item, catalogue. Empty if the repository
        does not have the file.

    Raises:
        InputError: If `suites` is missing or not a dict, a table is unknown, or an element is not an expectation.
    """
    if repo is None or not (repo / CUSTOM_FILE).is_file():
        return {}
    from two_tower.data.definitions import own_modules  # imported here because it imports Feast, which takes seconds

    with chdir(repo), own_modules(repo.resolve()):
        custom = getattr(importlib.import_module(Path(CUSTOM_FILE).stem), "suites", None)
    if not isinstance(custom, Mapping):
        raise InputError(
            f"{CUSTOM_FILE} of the feature repository {repo.name} does not define `suites`. Define a dict of lists of "
            f"expectations, with the keys {', '.join(TABLES)}."
        )
    for table, expectations in custom.items():
        if table not in TABLES:
            raise unknown(f"table in `suites` of {CUSTOM_FILE}", str(table), TABLES)
        if wrong := [e for e in expectations if not isinstance(e, gxe.Expectation)]:
            raise InputError(
                f"`suites` of {CUSTOM_FILE}: {table!r} contains {wrong[0]!r}, which is not an expectation. Use classes "
                "of great_expectations.expectations."
            )
    return {
        table: gx.ExpectationSuite(name=f"{table} ({CUSTOM_FILE})", expectations=list(expectations))
        for table, expectations in custom.items()
    }
