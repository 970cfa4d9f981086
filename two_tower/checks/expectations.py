"""The data gate: run the expectations of `suites` on pulled data.

Great Expectations runs in an ephemeral context and sends no analytics. A failed expectation becomes a reason that names
the table, the column and some of the values.
"""

import logging
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import great_expectations as gx
import pandas as pd
import pyarrow as pa

from two_tower.checks import compared, data_report
from two_tower.checks.checked import ROW, frame, type_row, unlisted_column, unlisted_items
from two_tower.checks.measure import Measure
from two_tower.checks.outcome import EXAMPLES, Outcome, outcome
from two_tower.checks.suites import custom_suites, measure_suite, suites, type_suites
from two_tower.data.pulled import TABLES, Pulled
from two_tower.gates import Verdict
from two_tower.statistics import reference


def validate(
    pulled: Pulled, report: Path, before: Mapping[str, Any] | None = None, repo: Path | None = None
) -> Verdict:
    """Check the pulled tables and write the report.

    The checks run in three stages: types, values, measures. A stage runs only if the stages before it have passed. A
    failed expectation is a reason of the verdict. A failed expectation with the severity warning is listed only in the
    details.

    Args:
        pulled: The pulled tables.
        report: The path of the report, a self-contained HTML page.
        before: The reference of the current release. None: no comparison.
        repo: The feature repository, which may contain its own expectations. None: no expectations of a repository.

    Returns:
        The verdict of the gate `data`.

    Raises:
        InputError: If the expectations of the repository are not valid.
    """
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # keeps the log of the pipeline step short
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("pulled")
    tables = {name: getattr(pulled, name) for name in TABLES}
    types = type_suites(pulled.contract)
    drift: list[dict[str, Any]] = []
    outcomes = [o for t in TABLES for o in _run(source, t, types[t], type_row(tables[t], types[t]), {})]
    if all(o.passed for o in outcomes):
        outcomes += _check_values(source, pulled, repo)
        outcomes += _check_measures(source, "sources", compared.source_measures(pulled.views))
    if all(o.passed or o.warning for o in outcomes):
        now = reference.describe(pulled, before)
        measures = list(compared.text_measures(pulled.contract, now))
        if before:
            measures += compared.measures(pulled.contract, now, before)
            drift = compared.drift(measures)
        outcomes += _check_measures(source, "measures", measures)
    verdict = _verdict(outcomes, tables, compared_with=before["as_of"] if before else None, drift=drift)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(data_report.page(verdict, outcomes, pulled.bounds), encoding="utf-8")
    return verdict


def _check_values(source: Any, pulled: Pulled, repo: Path | None) -> list[Outcome]:
    parameters = {"as_of": pulled.bounds.as_of.isoformat(), "rows": pulled.interactions.num_rows}
    standard, custom = suites(pulled.contract), custom_suites(repo)
    outcomes = []
    for name in TABLES:
        checked = frame(getattr(pulled, name))
        if name == "interactions":
            checked[unlisted_column(pulled.contract.item_key)] = unlisted_items(pulled)
        outcomes += _run(source, name, standard[name], checked, parameters)
        if name in custom:
            outcomes += _run(source, name, custom[name], checked, parameters)
    return outcomes


def _check_measures(source: Any, name: str, measures: Iterable[Measure]) -> list[Outcome]:
    """Check measures as expectations on data frames with one row per table."""
    outcomes = []
    for table, group in groupby(sorted(measures, key=lambda m: m.table), key=lambda m: m.table):
        table_measures = list(group)
        row = pd.DataFrame([{m.label: float(m.value) for m in table_measures} | {ROW: 0}])
        outcomes += _run(source, table, measure_suite(f"{name} of {table}", table_measures), row, {})
    return outcomes


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


def _verdict(
    outcomes: list[Outcome],
    tables: Mapping[str, pa.Table],
    compared_with: str | None,
    drift: list[dict[str, Any]],
) -> Verdict:
    failed = [o for o in outcomes if not o.passed]
    reasons = tuple(o.sentence(tables.get(o.table)) for o in failed if not o.warning)
    return Verdict(
        gate="data",
        passed=not reasons,
        reasons=reasons,
        details={
            "expectations": len(outcomes),
            "failed": len(reasons),
            "warnings": [o.sentence(tables.get(o.table)) for o in failed if o.warning],
            "compared_with": compared_with,
            "drift": drift,
            "rows": {name: table.num_rows for name, table in tables.items()},
        },
    )
