"""The table of a file, as `files` reads it."""

from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa

from two_tower.starter import values


@dataclass(frozen=True, kw_only=True)
class Source:
    """The table of a file.

    Attributes:
        name: The name of the file.
        table: The table.
        from_text: Whether the file contains only text.
        named: Whether the columns have names; False for a file without a header.
        left_out: Columns that are neither keys nor features, with the reason: row numbers.
        notes: One sentence for the user per thing that the reader did.
    """

    name: str
    table: pa.Table
    from_text: bool
    named: bool
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @cached_property
    def kinds(self) -> dict[str, str]:
        """The kind of each column (see `values`), and `left out` for the columns of `left_out`."""
        return {
            name: "left out" if name in self.left_out else values.kind_of(self.table[name], name, self.from_text)
            for name in self.table.column_names
        }
