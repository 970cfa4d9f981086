"""CONTRIBUTING says where the tests of each module are."""

import re
from pathlib import Path

from tests.docs.shown import ROOT

ROOMS = ("two_tower", "serving", "pipelines", "components")
NO_LOGIC = {"two_tower/_version.py", "pipelines/__main__.py", "pipelines/exit_status.py"}
ROW = re.compile(r"^\| `([\w/]+)/` \| ([^|]+) \| (`tests/[^|]+) \|$", re.MULTILINE)


def rows() -> list[tuple[str, list[str], list[str]]]:
    """List (folder, module names or `all`, test files) of the table."""
    page = (ROOT / "CONTRIBUTING.md").read_text()
    return [
        (folder, modules.replace("`", "").split(", "), tests.replace("`", "").split(", "))
        for folder, modules, tests in ROW.findall(page)
    ]


def has_test_of_its_name(module: Path) -> bool:
    return (ROOT / "tests" / module.parent / f"test_{module.stem}.py").is_file()


def test_each_module_has_a_test_of_its_name_or_a_row():
    listed = {f"{folder}/{name}.py" for folder, names, _ in rows() for name in names}
    modules = [path.relative_to(ROOT) for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    missing = [
        str(module)
        for module in modules
        if module.name != "__init__.py"
        and not has_test_of_its_name(module)
        and not {str(module), f"{module.parent}/all.py"} & (listed | NO_LOGIC)
    ]
    assert not missing, "add tests/**/test_NAME.py, or a row to the table in CONTRIBUTING.md"


def test_each_row_names_existing_files():
    assert len(rows()) > 20
    modules = {f"{folder}/{name}.py" for folder, names, _ in rows() for name in names if name != "all"}
    tests = {test for _, _, names in rows() for test in names}
    assert not {file for file in modules | tests if not (ROOT / file).is_file()}
