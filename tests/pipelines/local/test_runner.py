"""The local runner on real, tiny pipelines: one subprocess a step."""

from pathlib import Path

import pytest
from kfp import dsl

from pipelines.local.runner import Step, artifact, run


@dsl.component(base_image="python", install_kfp_package=False)
def write(text: str, note: dsl.Output[dsl.Artifact]) -> str:
    from pathlib import Path

    Path(note.path).write_text(text)
    print(f"wrote {text}")
    return text


@dsl.component(base_image="python", install_kfp_package=False)
def fail(kind: str) -> None:
    from two_tower.errors import InputError
    from two_tower.gates import Verdict, hold

    print("about to fail")
    if kind == "input":
        raise InputError("file 'a.csv' is missing.\nPut it there.")
    if kind == "gate":
        hold(Verdict(gate="data", passed=False, reasons=("column 'x' is empty",)))
    raise KeyError("lost")


@dsl.pipeline(name="good")
def good(text: str) -> str:
    first = write(text=text)
    second = write(text="always").after(first).set_display_name("second").set_caching_options(False)
    return second.outputs["Output"]


@dsl.pipeline(name="bad")
def bad(kind: str) -> None:
    fail(kind=kind)


@pytest.fixture
def told() -> list[tuple[str, str | None]]:
    return []


def start(pipeline, arguments: dict[str, str], folder: Path, told: list):
    return run(pipeline, arguments, folder, lambda step, line: told.append((step.name, line)))


def test_a_run_tells_its_steps_and_an_unchanged_one_is_reused(tmp_path: Path, told: list) -> None:
    first = start(good, {"text": "hello"}, tmp_path, told)
    assert first.failed is None
    assert first.output == "always"
    assert [(s.name, s.cached) for s in first.steps] == [("write", False), ("second", False)]
    assert told == [("write", "wrote hello"), ("write", None), ("second", "wrote always"), ("second", None)]
    assert artifact(first, "write-2", "note").read_text() == "always"
    assert "wrote hello" in (tmp_path / "run.log").read_text()

    again = start(good, {"text": "hello"}, tmp_path, told)
    assert [(s.name, s.cached) for s in again.steps] == [("write", True), ("second", False)]
    other = start(good, {"text": "other"}, tmp_path, told)
    assert [s.cached for s in other.steps] == [False, False]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("input", ("InputError", "file 'a.csv' is missing.\nPut it there.")),
        ("gate", ("GateHeldError", '{"gate": "data", "reasons": ["column \'x\' is empty"]}')),
        ("fault", None),
    ],
)
def test_a_failed_step_says_why(tmp_path: Path, told: list, kind: str, error: tuple[str, str] | None) -> None:
    failed = start(bad, {"kind": kind}, tmp_path, told).failed
    assert failed is not None
    assert failed.name == "fail"
    assert failed.lines[0] == "about to fail"
    assert failed.error() == error
    assert not any("KFP Executor" in line for line in failed.lines)
    assert not any("Traceback" in (line or "") or "  File" in (line or "") for _, line in told)
    assert "Traceback" in failed.traceback()
    assert kind != "fault" or failed.fault() == "KeyError: 'lost'"


def test_the_fault_of_a_step_is_the_last_exception_of_a_chain_or_its_last_lines() -> None:
    chain = ["working", "Traceback (most recent call last):", "  File x", "KeyError: 'a'", ""]
    chain += ["Traceback (most recent call last):", "  File y", "ValueError: of two", "lines"]
    assert Step("train", lines=chain).fault() == "ValueError: of two\nlines"
    assert Step("train", lines=["epoch 1", "epoch 2"]).fault() == "epoch 1\nepoch 2"
    assert "killed for memory" in Step("train").fault()
