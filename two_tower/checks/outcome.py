"""What came of an expectation, in words."""

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from two_tower.checks.checked import ROW

EXAMPLES = 3
_HIDDEN = ("batch_id", "column", "column_list", "severity", "strict_min")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """table, columns: what was looked at. expectation: its name in Great Expectations. allowed: its arguments.

    counted: values that broke it and values looked at, where it looks at each. examples: (row, value as checked).
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
    def place(self) -> str:
        return ".".join([self.table, ", ".join(self.columns)] if self.columns else [self.table])

    def found(self, table: pa.Table | None) -> str:
        """What was seen; values are shown as the pulled table holds them."""
        if self.error:
            return f"could not be checked: {self.error}"
        if self.counted is None:
            return f"found {_shown(self.observed)}"
        if self.counted == (1, 1):
            return f"found {_shown(self.examples[0][1])}" if self.examples else "found none"
        shown = ", ".join(f"{_shown(self._raw(table, row, value))} (row {row})" for row, value in self.examples)
        return f"{self.counted[0]} of {self.counted[1]} values" + (f", such as {shown}" if shown else "")

    def sentence(self, table: pa.Table | None) -> str:
        limits = ", ".join(f"{name} {_shown(value)}" for name, value in self.allowed.items())
        return f"{self.place}: {self.expectation}: {self.found(table)}" + (f"; {limits}" if limits else "") + "."

    def _raw(self, table: pa.Table | None, row: int, value: Any) -> Any:
        one = self.columns[0] if len(self.columns) == 1 else None
        if table is None or one not in table.column_names or isinstance(value, str):
            return value
        return table[one][row].as_py()


def outcome(table: str, result: Any) -> Outcome:
    """An `Outcome` of Great Expectations' result of one expectation."""
    config, seen = result.expectation_config, result.result
    arguments = config.kwargs
    columns = tuple(arguments.get("column_list", ())) or tuple(filter(None, [arguments.get("column")]))
    return Outcome(
        table=table,
        columns=columns,
        expectation=config.type,
        allowed={k: v for k, v in arguments.items() if k not in _HIDDEN},
        passed=bool(result.success),
        warning=str(getattr(config.severity, "value", config.severity)) == "warning",
        counted=(int(seen["unexpected_count"]), int(seen["element_count"])) if "unexpected_count" in seen else None,
        observed=seen.get("observed_value"),
        examples=tuple((int(e[ROW]), _value(e, columns)) for e in seen.get("partial_unexpected_index_list") or ()),
        error=_error(result.exception_info or {}),
    )


def _value(example: dict[str, Any], columns: tuple[str, ...]) -> Any:
    values = [example[c] for c in columns]
    return values[0] if len(values) == 1 else tuple(values)


def _error(info: dict[str, Any]) -> str:
    """The message of the exception, which Great Expectations gives directly or by metric."""
    single = [info] if "raised_exception" in info else info.values()
    return "; ".join(str(i["exception_message"]) for i in single if i["raised_exception"])


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "(" + ", ".join(_shown(v) for v in value) + ")"
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    if isinstance(value, float):
        return f"{value:.6g}"
    text = repr(value.item() if hasattr(value, "item") else value)
    return text if len(text) <= 80 else text[:77] + "…"
