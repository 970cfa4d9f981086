import subprocess
from pathlib import Path

import pytest

from benchmarks.mutation_list import MUTATIONS, Mutation
from benchmarks.mutations import ROOT, measure, occurrences

CODE = "def double(x):\n    return 2 * x\n\n\ndef half(x):\n    return x / 2\n"
TEST = "from code_under_test import double\n\n\ndef test_double():\n    assert double(3) == 6\n"


def mutation(old: str, new: str) -> Mutation:
    return Mutation("name", "code_under_test.py", old, new, ("test_code.py",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    subprocess.run(["git", "init", "-q", root], check=True)
    (root / "code_under_test.py").write_text(CODE)
    (root / "test_code.py").write_text(TEST)
    return root


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_each_text_occurs_once_and_each_test_file_exists(mutation):
    assert occurrences(mutation, ROOT) == 1 and mutation.old != mutation.new
    assert all((ROOT / test).exists() for test in mutation.tests)


def test_names_are_unique():
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS) >= 30


def test_a_fault_that_a_test_sees_is_caught_and_another_survives(root, tmp_path):
    copy = tmp_path / "copy"
    rows = measure([mutation("2 * x", "3 * x"), mutation("x / 2", "x / 3")], root, copy)
    assert [(row["result"], row["by"]) for row in rows] == [("caught", "test_double"), ("survived", "")]
    assert (copy / "code_under_test.py").read_text() == (root / "code_under_test.py").read_text() == CODE


@pytest.mark.parametrize("old", ["x", "absent"])
def test_a_text_that_does_not_occur_once_is_named(root, tmp_path, old):
    with pytest.raises(SystemExit, match=r"name: \d times in code_under_test\.py"):
        measure([mutation(old, "y")], root, tmp_path / "copy")


def test_tests_that_fail_on_the_unchanged_code_are_shown(root, tmp_path):
    (root / "code_under_test.py").write_text(CODE.replace("2 * x", "4 * x"))
    with pytest.raises(SystemExit, match="fail on the unchanged code"):
        measure([mutation("4 * x", "5 * x")], root, tmp_path / "copy")
