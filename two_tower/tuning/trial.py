"""Results of the trials of a study."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from two_tower.tuning.space import Value

State = Literal["finished", "pruned", "unfit"]


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Result of a trial that has ended.

    Attributes:
        number: Number from 1, in the order in which the trials ended.
        state: `finished`; `pruned` if the trial was worse than the others; `unfit` if training with its values is not
            possible.
        value: Objective, None unless the trial finished.
        values: Value of each searched setting.
        curve: Metric after each epoch.
        seconds: Duration.
        why: Reason of the state `unfit`, else empty.
    """

    number: int
    state: State
    value: float | None
    values: Mapping[str, Value]
    curve: tuple[float, ...]
    seconds: float
    why: str = ""

    def row(self, metric: str) -> dict[str, Any]:
        """Return the result as a flat row of a table, with the objective in column `metric`."""
        result = {"trial": self.number, "state": self.state, metric: self.value, "epochs": len(self.curve)}
        return result | {"seconds": round(self.seconds, 2), "why": self.why} | dict(self.values)


def best_first(trials: Sequence[TrialResult]) -> list[TrialResult]:
    """Sort the finished trials, the best first; of equal ones the earlier first."""
    return sorted((t for t in trials if t.value is not None), key=lambda t: (-(t.value or 0.0), t.number))
