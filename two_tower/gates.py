"""Verdicts: what a gate says, in the one form that every gate, the report and the command line share."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from two_tower.errors import GateHeldError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """gate: data, parity or promotion. reasons: why it did not pass, a sentence each. details: what was measured."""

    gate: str
    passed: bool
    reasons: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.passed == (not self.reasons), "a gate that holds says why, one that passes has no reason"

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, path: Path) -> "Verdict":
        data = json.loads(path.read_text())
        return cls(**{**data, "reasons": tuple(data["reasons"])})


def hold(verdict: Verdict) -> None:
    """Raise GateHeldError with the gate's reasons unless it passed."""
    if not verdict.passed:
        raise GateHeldError(json.dumps({"gate": verdict.gate, "reasons": verdict.reasons}))
