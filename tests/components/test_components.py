"""Components are shells: what they do is in the library, and what they need they import inside."""

import ast
from pathlib import Path

import pytest

from pipelines.kubeflow.resources import NEEDS

FILES = sorted((Path(__file__).parents[2] / "components").glob("[a-z]*.py"))
LONGEST = 25


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_component_is_a_shell(path: Path) -> None:
    tree = ast.parse(path.read_text())
    (function,) = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert function.name == path.stem
    statements = function.body[1:]  # without the docstring
    lines = function.end_lineno - statements[0].lineno + 1
    assert lines <= LONGEST, f"{path.name} does more than call the library"
    assert ast.get_docstring(function)
    outside = {
        alias.name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for alias in node.names
    }
    assert outside <= {"dsl", "DATA_IMAGE", "TRAIN_IMAGE", "SERVING_IMAGE", "List"}, (
        "only the body reaches the container"
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_annotations_are_not_postponed(path: Path) -> None:
    assert "from __future__" not in path.read_text(), "kfp reads the real ones"


def test_every_component_says_what_it_needs_of_a_cluster() -> None:
    assert {path.stem.replace("_", "-") for path in FILES} == set(NEEDS)
