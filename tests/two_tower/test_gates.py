import json
from pathlib import Path

import pytest

from two_tower.errors import GateHeldError
from two_tower.gates import Verdict, hold


def test_a_verdict_survives_its_file(tmp_path: Path) -> None:
    verdict = Verdict(gate="data", passed=False, reasons=("column 'x' is empty",), details={"rows": 3})
    verdict.write(tmp_path / "v.json")
    assert Verdict.read(tmp_path / "v.json") == verdict


def test_hold_raises_only_what_did_not_pass() -> None:
    hold(Verdict(gate="parity", passed=True))
    with pytest.raises(GateHeldError) as caught:
        hold(Verdict(gate="parity", passed=False, reasons=("off by 1",)))
    assert json.loads(str(caught.value)) == {"gate": "parity", "reasons": ["off by 1"]}


def test_a_verdict_without_a_reason_cannot_hold() -> None:
    with pytest.raises(AssertionError):
        Verdict(gate="data", passed=False)
