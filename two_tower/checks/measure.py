"""A measure of the data gate: one number about a table, with its limits."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number and its limits.

    Attributes:
        table: The table that the number describes.
        column: The column, or columns, that the number describes.
        quantity: Name of the number, such as "null share".
        value: The number.
        least: The smallest allowed value. None: no limit.
        most: The largest allowed value. None: no limit.
        warning: Whether a value outside the limits is only a warning. Otherwise it fails the gate.
    """

    table: str
    column: str
    quantity: str
    value: float
    least: float | None = None
    most: float | None = None
    warning: bool = False

    @property
    def label(self) -> str:
        """Column and quantity, the name of the measure in messages."""
        return f"{self.column} ({self.quantity})"
