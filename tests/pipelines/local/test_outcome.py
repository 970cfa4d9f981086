import io
from pathlib import Path

import pytest

from pipelines.cli.console import plain_console
from pipelines.local.outcome import explain, next_steps

COMMAND = "two-tower run --dataset sample --out runs/sample"
HELD = {"gates": {"data": {"passed": False, "reasons": ["user.age: [all] are null"]}}, "next": ["Correct [it]."]}


@pytest.mark.parametrize("gate", ["data", "leaks", "parity", "promotion", "deploy"])
def test_each_gate_has_a_next_step_with_a_command(gate: str, tmp_path: Path) -> None:
    steps = next_steps(gate, ["x"], COMMAND, tmp_path, [])
    assert steps
    assert any(COMMAND in step for step in steps)


def test_only_changed_data_can_be_accepted(tmp_path: Path) -> None:
    accept = f"{COMMAND} --set compare_with=nothing"
    assert accept not in " ".join(next_steps("data", ["x"], COMMAND, tmp_path, []))
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "current").write_text("r1")
    told = " ".join(next_steps("data", ["x"], COMMAND, tmp_path, []))
    assert accept in told
    assert "The current release keeps serving" in told


def test_the_advice_comes_before_the_command_that_accepts_the_model(tmp_path: Path) -> None:
    steps = next_steps("promotion", ["min_lift 1"], COMMAND, tmp_path, ["Train longer."])
    assert steps == ["Train longer.", f"To accept this model as it is: {COMMAND} --set min_lift=0"]


def test_a_model_below_the_current_release_is_accepted_by_the_tolerance(tmp_path: Path) -> None:
    *_, accept = next_steps("promotion", ["worse than the current release"], COMMAND, tmp_path, [])
    assert accept == f"To accept this model as it is: {COMMAND} --set tolerance=0.05"


@pytest.mark.parametrize(
    ("reasons", "settings"),
    [
        (["which is min_lift 1 times", "by more than baseline_tolerance 20.0%"], "--set min_lift=0"),
        (["by more than baseline_tolerance 20.0%"], "--set baseline_tolerance=1"),
        (["baseline_tolerance", "the current release"], "--set baseline_tolerance=1 --set tolerance=0.05"),
    ],
    ids=["popularity too", "a baseline alone", "a baseline and the current release"],
)
def test_every_limit_that_holds_the_model_is_relaxed(reasons: list[str], settings: str, tmp_path: Path) -> None:
    *_, accept = next_steps("promotion", reasons, COMMAND, tmp_path, [])
    assert accept == f"To accept this model as it is: {COMMAND} {settings}"


def lines(summary: dict, release: str | None) -> list[str]:
    out = io.StringIO()
    console = plain_console(file=out)
    explain(summary, release, Path("out"), console, console)
    return out.getvalue().splitlines()


def test_a_held_run_prints_the_reason_and_the_next_step() -> None:
    assert lines(HELD, None) == [
        "held: the data gate holds this release back",
        "  - user.age: [all] are null",
        "next:",
        "  - Correct [it].",
        "report: out/report.html",
        "full log: out/run.log",
    ]


def test_a_promoted_run_that_a_baseline_beats_has_a_note() -> None:
    told = lines({"gates": {}, "advice": ["The towers lose.", "Train longer."]}, "r1")
    assert told[:3] == ["note: The towers lose.", "  - Train longer.", "promoted: release r1"]


def test_an_error_is_printed_with_the_log() -> None:
    told = lines({"gates": {}, "error": {"message": "step pull failed: [x]", "status": 2}}, None)
    assert told == ["error: step pull failed: [x]", "full log: out/run.log"]
