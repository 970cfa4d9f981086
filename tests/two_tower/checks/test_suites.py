import subprocess
import sys

import pytest

from two_tower.checks import suites
from two_tower.errors import InputError


def test_a_repository_adds_expectations_of_its_own(tmp_path):
    (tmp_path / "expectations.py").write_text(
        "import great_expectations.expectations as gxe\n"
        'suites = {"item": [gxe.ExpectColumnValuesToBeBetween(column="price", max_value=9, severity="warning")]}\n'
    )
    (expectation,) = suites.custom_suites(tmp_path)["item"].expectations
    assert expectation.column == "price" and expectation.max_value == 9
    assert suites.custom_suites(tmp_path / "elsewhere") == suites.custom_suites(None) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not define `suites`"),
        ("suites = {'items': []}", "unknown table .* 'items'. Did you mean 'item'"),
        ("suites = {'item': ['price']}", "'item' contains 'price', which is not an expectation"),
    ],
)
def test_a_file_without_expectations_is_named(tmp_path, text, message):
    (tmp_path / "expectations.py").write_text(text)
    with pytest.raises(InputError, match=message):
        suites.custom_suites(tmp_path)


@pytest.mark.slow
def test_the_gate_is_imported_without_feast():
    script = "import sys; sys.modules['feast'] = None; import two_tower.checks.expectations"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
