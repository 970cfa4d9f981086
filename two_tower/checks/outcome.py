"""The result of one Great Expectations expectation, as a sentence."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from two_tower.checks.checked import ROW

EXAMPLES = 3
_HIDDEN = ("batch_id", "column", "column_list", "severity", "strict_min")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of one expectation.

    Attributes:
        table: The checked table.
        columns: The checked columns.
        expectation: The name of the expectation in Great Expectations.
        allowed: The arguments of the expectation.
        passed: Whether the expectation passed.
        warning: Whether the expectation has the severity warning.
        counted: The numbers of failed and of checked values. None if the expectation does not check single values.
        observed: The observed value, if the expectation checks one.
        examples: Failed values as (row, checked value).
        error: The error message if the expectation could not run.
    """

    table: str
    columns: tuple[str, ...]
    expectation: str
    allowed: dict[str, Any]
    passed: bool
    warning: bool
    counted: tuple[int, int] | None = None
    observed: Any = None
    examples: tuple[tuple[int, Any], ...] = field(default=())
    error: str = ""

    @property
    def subject(self) -> str:
        """Table and columns, such as `user.age`."""
        return ".".join([self.table, ", ".join(self.columns)] if self.columns else [self.table])

    def observation(self, table: pa.Table | None) -> str:
        """Describe the observed values; examples are shown as in the pulled table."""
        if self.error:
            return f"could not be checked: {self.error}"
        if self.counted is None:
            return f"observed {_format(self.observed)}"
        if self.counted == (1, 1):
            return f"observed {_format(self.examples[0][1])}" if self.examples else "observed none"
        examples = ", ".join(f"{_format(self._raw(table, row, value))} (row {row})" for row, value in self.examples)
        return f"{self.counted[0]} of {self.counted[1]} values" + (f", such as {examples}" if examples else "")

    def sentence(self, table: pa.Table | None) -> str:
        """Describe the result in one sentence.

        Args:
            table: The pulled table, for the values of the examples. None: the examples are shown as checked.

        Returns:
            The subject, the expectation, the observation and the limits.
        """
        limits = ", ".join(f"{name} {_format(value)}" for name, value in self.allowed.items())
        return (
            f"{self.subject}: {self.expectation}: {self.observation(table)}" + (f"; {limits}" if limits else "") + "."
        )

    def _raw(self, table: pa.Table | None, row: int, value: Any) -> Any:
        column = self.columns[0] if len(self.columns) == 1 else None
        if table is None or column not in table.column_names or isinstance(value, str):
            return value
        return table[column][row].as_py()


def outcome(table: str, result: Any) -> Outcome:
    """Convert the result object of Great Expectations for one expectation.

    Args:
        table: The checked table.
        result: An `ExpectationValidationResult`.

    Returns:
        The result as an `Outcome`.
    """
    config, values = result.expectation_config, result.result
    arguments = config.kwargs
    columns = tuple(arguments.get("column_list", ())) or tuple(filter(None, [arguments.get("column")]))
    return Outcome(
        table=table,
        columns=columns,
        expectation=config.type,
        allowed={k: v for k, v in arguments.items() if k not in _HIDDEN},
        passed=bool(result.success),
        warning=str(getattr(config.severity, "value", config.severity)) == "warning",
        counted=(int(values["unexpected_count"]), int(values["element_count"]))
        if "unexpected_count" in values
        else None,
        observed=values.get("observed_value"),
        examples=tuple((int(e[ROW]), _value(e, columns)) for e in values.get("partial_unexpected_index_list") or ()),
        error=_error(result.exception_info or {}),
    )


def _value(example: dict[str, Any], columns: tuple[str, ...]) -> Any:
    values = [example[c] for c in columns]
    return values[0] if len(values) == 1 else tuple(values)


def _error(info: dict[str, Any]) -> str:
    """Return the exception messages. Great Expectations stores one exception, or one per metric."""
    exceptions = [info] if "raised_exception" in info else info.values()
    return "; ".join(str(e["exception_message"]) for e in exceptions if e["raised_exception"])


def _format(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_format(v) for v in value) + ")"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, float):
        return f"{value:.6g}"
    text = repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= 80 else text[:77] + "…"
