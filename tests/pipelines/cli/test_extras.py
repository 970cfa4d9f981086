"""Each extra, installed alone, has what its commands import."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.cli import extras
from tests.pipelines.endpoint import pipelines
from tests.two_tower.starter import tables

RUN = """
from typer.testing import CliRunner
from pipelines.cli.main import app
for arguments in ARGUMENTS:
    result = CliRunner().invoke(app, arguments)
    print(result.exit_code, (result.stderr.splitlines() or [""])[-1])
"""
HELP = [
    [name, "--help"] for name in ("run", "init", "leaks", "compile", "submit", "serve", "recommend", "skew", "drift")
]


def call(installed: str, commands: list[list[str]]) -> list[str]:
    """Exit status and last line of stderr of commands, in a process with some extras only."""
    code = f"ARGUMENTS = {commands!r}\n{RUN}"
    command = [sys.executable, extras.__file__, installed, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_extra_pipeline_compiles_and_submits(tmp_path: Path) -> None:
    kinds = ["training", "refresh_items", "dataset"]
    commands = [["compile", "--pipeline", kind, "--out", str(tmp_path / "pipeline.yaml")] for kind in kinds]
    with pipelines() as api:
        to = [
            "submit",
            "--host",
            api.address,
            "--releases",
            "s3://shop/releases",
            "--as-of",
            "2026-01-01T00:00:00+00:00",
        ]
        commands += [
            [*to, "--dataset", "sample"],
            [*to, "--feature-repo", "s3://shop/features", "--schedule", "0 3 * * *"],
        ]
        lines = call("pipeline", [*HELP, *commands])
        assert [line.partition(" ")[0] for line in lines] == ["0"] * len(lines), lines
        assert [kind for kind, _ in api.created if kind != "experiments"] == ["runs", "recurringruns"]


@pytest.mark.slow
def test_the_extra_data_makes_a_repository(tmp_path: Path) -> None:
    files = ["--interactions", str(tables.events(tmp_path)), "--items", str(tables.items(tmp_path))]
    (line,) = call("data", [["init", str(tmp_path / "repo"), *files]])
    assert line[0] == "0" and (tmp_path / "repo" / "definitions.py").is_file(), line


def test_the_extra_serving_opens_releases(tmp_path: Path) -> None:
    lines = call(
        "serving",
        [
            ["releases", "list", "--releases", str(tmp_path)],
            ["recommend", "--releases", str(tmp_path), "--user", "u"],
            ["drift", "--releases", str(tmp_path), "--feature-log", str(tmp_path)],
        ],
    )
    assert [line[0] for line in lines] == ["0", "2", "2"] and not any("not installed" in line for line in lines), lines


@pytest.mark.parametrize("module", ["serving.http.app", "serving.workers.supervisor"])
def test_the_extra_serving_has_the_service(module: str) -> None:
    subprocess.run([sys.executable, extras.__file__, "serving", f"import {module}"], check=True)


def test_without_extras_a_command_names_its_extra(tmp_path: Path) -> None:
    out = str(tmp_path / "pipeline.yaml")
    missing = [
        ["compile", "--out", out],
        ["submit", "--dataset", "sample"],
        ["init", out, "--interactions", str(tables.events(tmp_path))],
        ["run", "--dataset", "sample", "--out", out],
        ["tune", "--dataset", "sample", "--out", out],
        ["recommend", "--releases", out, "--user", "u"],
        ["leaks", "--feature-repo", out],
    ]
    lines = call("", [*HELP, ["settings"], ["releases", "list", "--releases", str(tmp_path)], *missing])
    assert [line[0] for line in lines] == ["0"] * (len(HELP) + 2) + ["2"] * len(missing), lines
    for line, extra in zip(
        lines[-len(missing) :], ["pipeline", "pipeline", "data", "data,train,pipeline"], strict=False
    ):
        assert f"is not installed. Install: pip install 'two-tower[{extra}" in line
