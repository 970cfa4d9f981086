"""What came of one trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from two_tower.tuning.space import Value

State = Literal["finished", "pruned", "unfit"]


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One trial that has ended.

    number: from 1, in the order they ended. state: `pruned` when it fell behind the others, `unfit` when its values
    cannot be trained with, for which `why` has the reason. value: the objective, None unless finished. curve: what was
    reported after each epoch.
    """

    number: int
    state: State
    value: float | None
    values: Mapping[str, Value]
    curve: tuple[float, ...]
    seconds: float
    why: str = ""

    def row(self, metric: str) -> dict[str, Any]:
        """As a row of a table, flat."""
        told = {"trial": self.number, "state": self.state, metric: self.value, "epochs": len(self.curve)}
        return told | {"seconds": round(self.seconds, 2), "why": self.why} | dict(self.values)


def ranked(tried: Sequence[Tried]) -> list[Tried]:
    """Those that finished, the best first; of equal ones the earlier."""
    return sorted((t for t in tried if t.value is not None), key=lambda t: (-(t.value or 0.0), t.number))
