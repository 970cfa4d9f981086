"""Every command that the documentation shows is one that exists, with options that exist."""

import re
import shlex
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines.cli.main import app
from pipelines.kubeflow.cluster import ClusterConfig
from tests.docs.shown import PAGES, ROOT
from two_tower.config import Settings


def shown(page: Path) -> list[str]:
    """Lines of code blocks, indented or fenced, continued lines joined; and code within the text."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    fenced = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    return [
        *lines,
        *(line.strip() for block in fenced for line in block.splitlines()),
        *re.findall(r"`([^`\n]+)`", text),
    ]


COMMANDS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), line)
        for page in PAGES
        for line in shown(page)
        if re.match(r"(\S*/)?two-tower ", line)
    }
)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_is_known_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line.split(" | ")[0], comments=True)[1:]
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        name = words.pop(0)
        assert name in command.commands, f"{page}: no command {name}"
        command = command.commands[name]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words:
        if re.match(r"--?[a-z]", word):
            assert word.split("=")[0] in {*options, "--help"}, f"{page}: {line}: no option {word}"


def test_settings_in_the_documentation_are_known() -> None:
    named = {key for page in PAGES for key in re.findall(r"--set ([a-z_0-9]+)=", page.read_text())}
    assert named, "the documentation shows at least one"
    settings = Settings()
    sections = (settings.pull, settings.train, settings.evaluation, settings.deploy, settings.report, ClusterConfig())
    assert named <= {f.name for section in sections for f in fields(section)}


def test_benchmarks_and_targets_in_the_documentation_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        for module in re.findall(r"python -m (benchmarks\.\w+)", text):
            assert find_spec(module), f"{page}: no {module}"
        for target in re.findall(r"`make ([a-z-]+)", text):
            assert target in targets, f"{page}: no target {target}"
