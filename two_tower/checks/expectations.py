"""The data gate: runs the expectations of `suites` on what was pulled, and says what came of it.

Great Expectations runs them in a context that lives in memory and reports to nobody; a failed one becomes a reason that
names the table, the column and some of the values.
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
from two_tower.checks.compared import Measure
from two_tower.checks.outcome import EXAMPLES, Outcome, outcome
from two_tower.checks.suites import of_measures, own_suites, suites, type_suites
from two_tower.data.pulled import TABLES, Pulled
from two_tower.gates import Verdict
from two_tower.statistics import reference


def validate(
    pulled: Pulled, report: Path, before: Mapping[str, Any] | None = None, repo: Path | None = None
) -> Verdict:
    """Check the pulled tables and write `report`, a page of HTML that needs nothing else.

    before: the reference of the release that serves; without one nothing is compared. repo: the feature repository,
    which may hold expectations of its own.
    Types come first: where one is wrong, values are not looked at, and where values are, nothing is measured. A failed
    expectation is a reason, one of severity warning only a line in the details.
    """
    logging.getLogger("great_expectations").setLevel(logging.WARNING)  # a step's log is for its own words
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(False)
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("pulled")
    tables = {name: getattr(pulled, name) for name in TABLES}
    kinds = type_suites(pulled.contract)
    moved: list[dict[str, Any]] = []
    outcomes = [o for t in TABLES for o in _run(source, t, kinds[t], type_row(tables[t], kinds[t]), {})]
    if all(o.passed for o in outcomes):
        outcomes += _of_values(source, pulled, repo)
        outcomes += _of_measures(source, "sources", compared.of_sources(pulled.views))
    if all(o.passed or o.warning for o in outcomes):
        now = reference.describe(pulled, before)
        measures = list(compared.of_texts(pulled.contract, now))
        if before:
            measures += compared.measures(pulled.contract, now, before)
            moved = compared.drift(measures)
        outcomes += _of_measures(source, "measures", measures)
    verdict = _verdict(outcomes, tables, compared_with=before["as_of"] if before else None, drift=moved)
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(data_report.page(verdict, outcomes, pulled.bounds), encoding="utf-8")
    return verdict


def _of_values(source: Any, pulled: Pulled, repo: Path | None) -> list[Outcome]:
    parameters = {"as_of": pulled.bounds.as_of.isoformat(), "rows": pulled.interactions.num_rows}
    wanted, own = suites(pulled.contract), own_suites(repo)
    outcomes = []
    for name in TABLES:
        checked = frame(getattr(pulled, name))
        if name == "interactions":
            checked[unlisted_column(pulled.contract.item_key)] = unlisted_items(pulled)
        outcomes += _run(source, name, wanted[name], checked, parameters)
        if name in own:
            outcomes += _run(source, name, own[name], checked, parameters)
    return outcomes


def _of_measures(source: Any, name: str, measures: Iterable[Measure]) -> list[Outcome]:
    """The outcomes of all measures: a frame of one row a table."""
    outcomes = []
    for table, found in groupby(sorted(measures, key=lambda m: m.table), key=lambda m: m.table):
        of_table = list(found)
        row = pd.DataFrame([{m.label: float(m.value) for m in of_table} | {ROW: 0}])
        outcomes += _run(source, table, of_measures(f"{name} of {table}", of_table), row, {})
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
