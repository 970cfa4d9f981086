"""The result of a gate, in one format for all gates, the report, and the command line."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from two_tower.errors import GateHeldError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of one gate.

    Attributes:
        gate: The name of the gate: data, leaks, parity, promotion, refresh, deploy, or skew.
        passed: Whether the gate passed.
        reasons: One sentence for each reason why the gate did not pass. Empty if it passed.
        details: The measured values, as JSON values.
    """

    gate: str
    passed: bool
    reasons: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.passed == (not self.reasons), "a failed gate needs reasons, a passed gate has none"

    def write(self, path: Path) -> None:
        """Write the verdict to a JSON file."""
        path.write_text(json.dumps(asdict(self), indent=2))

    @classmethod
    def read(cls, path: Path) -> "Verdict":
        """Read a verdict from a file that `write` wrote."""
        data = json.loads(path.read_text())
        return cls(**{**data, "reasons": tuple(data["reasons"])})


def hold(verdict: Verdict) -> None:
    """Stop the pipeline if a gate did not pass.

    Raises:
        GateHeldError: If the gate did not pass. The message is JSON with the name of the gate and its reasons.
    """
    if not verdict.passed:
        raise GateHeldError(json.dumps({"gate": verdict.gate, "reasons": verdict.reasons}))
